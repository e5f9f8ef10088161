"""What the pages say is true: snippets run, links lead somewhere, commands and their options exist."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Any

import click
import pytest
import torch

from runtime.cli import cli
from tests.docs.markdown import PAGES, ROOT, Block, anchors, blocks, links

# Names that a page takes for granted.
GIVEN: dict[str, Any] = {
    "coreset.md": lambda: {
        "features": torch.randn(20_100, 4, generator=torch.Generator().manual_seed(0))
    }
}
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


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if snippets(page)], ids=name)
def test_snippets_run(
    page: Path, tmp_path: Path, sample_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(sample_root, tmp_path / "parts")
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "snippets", **GIVEN.get(page.name, dict)()}
    for block in snippets(page):
        # Blank lines before the code make a traceback name the page's own line.
        exec(compile("\n" * (block.line - 1) + block.code, str(page), "exec"), namespace)


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
