"""What the pages say is true: snippets run, links lead somewhere, commands exist."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

from runtime.cli import cli
from tests.docs.markdown import PAGES, README, ROOT, Block, anchors, blocks, links, prose, sentences
from tests.edge_app.tiny_bundle import write_part, write_tiny_bundle

LINKING = [*PAGES, ROOT / "CHANGELOG.md"]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def snippets(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.language == "python" and not block.not_run]


def commands(page: Path) -> list[tuple[int, str]]:
    """Line number and text of each ``lineside ...`` line in a code block."""
    found = []
    for block in blocks(page):
        if block.language in ("", "bash", "sh", "console"):
            lines = block.code.replace("\\\n", "  ").splitlines()
            found += [
                (block.line + number, line.strip().removeprefix("$ "))
                for number, line in enumerate(lines)
                if line.strip().removeprefix("$ ").startswith("lineside ")
            ]
    return found


def run(page: Path, namespace: dict[str, Any]) -> None:
    for block in snippets(page):
        # Blank lines before the code make a traceback name the page's own line.
        exec(compile("\n" * (block.line - 1) + block.code, str(page), "exec"), namespace)


def test_readme_has_six_lines_of_python_that_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (first,) = snippets(README)
    assert first.code.startswith("import lineside\n")
    assert len([line for line in first.code.splitlines() if line]) == 6
    # What `make demo` makes, but for the training.
    demo = tmp_path / "demo"
    write_tiny_bundle(demo / "bundles" / "tile-patchcore")
    write_part(demo / "parts" / "tile" / "test" / "crack" / "000.png", 1, "dark")
    monkeypatch.chdir(tmp_path)
    run(README, {"__name__": "snippets"})
    verdict, score = capsys.readouterr().out.split(maxsplit=1)
    assert verdict == "anomalous"
    assert "threshold 64.0" in score
    # The site's first page for newcomers shows the same lines.
    assert first.code in (ROOT / "docs" / "start.md").read_text(encoding="utf-8")


def test_readme_is_short_and_its_two_commands_set_everything_up() -> None:
    words = [word for word in prose(README).split() if any(map(str.isalnum, word))]
    assert len(words) <= 460
    assert len([picture for picture in links(README) if picture.endswith(".png")]) == 1
    first = blocks(README)[0].code.splitlines()
    assert [line.split("#")[0].strip() for line in first] == ["make demo", "make test"]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_sentences_have_at_most_thirty_words(page: Path) -> None:
    found = sentences(page)
    assert found
    assert [one for one in found if len(one.split()) > 30] == []


def test_a_long_sentence_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n\nShort. {'word ' * 31}\nend (**so**).\n\n| a | {'b ' * 31} |\n")
    assert [len(one.split()) for one in sentences(page)] == [1, 1, 33, 1, 31]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES[:-1] if snippets(page)], ids=name)
def test_snippets_run(page: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    # Names that a page takes for granted.
    features = np.random.default_rng(0).standard_normal((20_100, 4)).astype(np.float32)
    given = {"coreset.md": {"features": features}}
    run(page, {"__name__": "snippets", **given.get(page.name, {})})


def test_the_tutorial_has_snippets_to_run() -> None:
    assert len(snippets(ROOT / "docs" / "tutorial.md")) >= 5


@pytest.mark.parametrize("page", LINKING, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists():
            broken.append(f"{link}: no such file")
        elif anchor and anchor not in anchors(target):
            broken.append(f"{link}: no such heading")
    assert broken == []


@pytest.mark.parametrize(
    ("page", "line", "text"),
    [
        pytest.param(page, line, text, id=f"{name(page)}:{line}")
        for page in PAGES
        for line, text in commands(page)
    ],
)
def test_commands_exist_with_their_options(page: Path, line: int, text: str) -> None:
    unknown = unknown_words(shlex.split(text, comments=True)[1:])
    assert unknown == [], f"{name(page)}:{line}: {text}"


def unknown_words(words: list[str]) -> list[str]:
    """Subcommands and options among the words that the command line does not have."""
    command: click.Command = cli
    known = options_of(cli)
    unknown = []
    for word in words:
        if word in ("|", ">", "&&", ";"):
            break
        if word.startswith("-") and not word.lstrip("-").replace(".", "").isdigit():
            unknown += [] if word.split("=")[0] in known else [word]
        elif isinstance(command, click.Group):
            found = command.get_command(click.Context(command), word)
            if found is not None:
                command, known = found, known | options_of(found)
            elif command is cli:
                unknown.append(word)
    return unknown


def options_of(command: click.Command) -> set[str]:
    parameters = command.get_params(click.Context(command, help_option_names=["-h", "--help"]))
    return {
        option
        for parameter in parameters
        if isinstance(parameter, click.Option)
        for option in (*parameter.opts, *parameter.secondary_opts)
    }


@pytest.mark.parametrize(
    "words",
    [["trian"], ["train", "--modle", "x"], ["thresholds", "b", "set", "--image-treshold", "1"]],
)
def test_a_misspelt_word_is_found(words: list[str]) -> None:
    assert len(unknown_words(words)) == 1
