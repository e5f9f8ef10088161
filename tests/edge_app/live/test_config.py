"""The configuration of a station: what fits, what does not and where, and the first one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_app.live.config import Config, read_config
from edge_app.live.first import write_first
from runtime.errors import ConfigError
from tests.cli import lineside

GOOD = """bundles = ["models/tile-patchcore"]

[[sources]]
name = "press 3"
watch = "incoming"

[[sources]]
name = "Förderband"
watch = "0"
"""


def config_of(folder: Path, text: str) -> Config:
    path = folder / "station.toml"
    path.write_text(text, encoding="utf-8")
    return read_config(path)


def test_paths_are_below_the_file_and_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    found = config_of(tmp_path, GOOD)
    assert found.bundles == (tmp_path / "models" / "tile-patchcore",)
    assert found.store == tmp_path / "neighbours"
    assert [one.watch for one in found.sources] == [str(tmp_path / "incoming"), "0"]
    assert {one.bundle for one in found.sources} == {"tile-patchcore"}
    assert found.page.port == 7860
    assert found.engine["threads"] is None


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("bundles = [1]", 1, "bundles: [0]: expected text, found a whole number"),
        ("store = 'x'", None, "expected the key bundles, found none; type for example: bundles ="),
        (f"stroe = 'x'\n{GOOD}", 1, "found stroe; did you mean store?"),
        (f"store = 'http://h:6333'\n{GOOD}", 1, "store: expected a folder"),
        ("bundles = ['a/b', 'c/b']", 1, "expected bundles of different names, found b, b"),
        ("bundles = ['b']", None, "expected at least one source, found none"),
        (GOOD + "[page]\nport = 70000", 11, "page.port: expected a whole number <= 65535"),
        (GOOD + "[engine]\n\ndevcie = 'GPU'", 12, "engine.devcie: expected one of engine,"),
        (GOOD.replace('watch = "0"', ""), 7, "sources[2]: expected the key watch, found none"),
        (GOOD.replace("Förderband", "press 3"), 8, "sources[2].name: expected another name"),
        (GOOD.replace('"0"', '""'), 9, "sources[2].watch: expected what to"),
        (GOOD + "bundle = 'leather'", 10, "bundle: expected one of tile-patchcore, found leather"),
        ("sources = 3\nbundles = ['b']", None, "expected at least one source"),
        ("page = 3\n" + GOOD, 1, "page: expected a table [page], found 3"),
        ("bundles = ['b'", None, "expected TOML, found Unclosed array"),
    ],
)
def test_what_does_not_fit_is_named_with_its_line(
    tmp_path: Path, text: str, line: int | None, said: str
) -> None:
    with pytest.raises(ConfigError) as error:
        config_of(tmp_path, text)
    assert said in str(error.value)
    at = f"station.toml, line {line}: " if line else "station.toml: "
    assert at in str(error.value)


def test_a_file_that_is_not_there_says_how_to_begin_one(tmp_path: Path) -> None:
    done = lineside("station", tmp_path / "none.toml", "--check")
    assert "lineside station --init" in done.line()


def test_the_first_one_works_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "demo" / "bundles" / "leather-patchcore").mkdir(parents=True)
    (tmp_path / "demo" / "parts").mkdir()
    monkeypatch.chdir(tmp_path)
    written = lineside("station", "line/station.toml", "--init")
    assert written.returncode == 0, written.stderr
    found = read_config(tmp_path / "line" / "station.toml")
    assert found.bundles == (tmp_path / "demo" / "bundles" / "leather-patchcore",)
    assert found.samples == tmp_path / "demo" / "parts"
    assert found.sources[0].watch == str(tmp_path / "demo" / "incoming")
    assert Path(found.sources[0].watch).is_dir()
    assert "can be used" in lineside("station", "line/station.toml", "--check").stdout
    assert "found one" in lineside("station", "line/station.toml", "--init").line()


def test_every_example_in_the_first_one_can_be_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "station.toml"
    write_first(path, [tmp_path / "tile-patchcore"])
    lines = path.read_text(encoding="utf-8").splitlines()
    typed = [re.sub(r"^# (?=[a-z_]+ = |\[\[)", "", line) for line in lines]
    assert sum(one != other for one, other in zip(typed, lines, strict=True)) == 23
    found = config_of(tmp_path, "\n".join(typed))
    assert found.page.root_path == "/line3"
    assert found.engine["threads"] == 2
    assert found.outputs[0].secret_variable == "MES_TOKEN"


@given(st.text(max_size=200))
@settings(max_examples=30)
def test_any_text_is_a_configuration_or_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    folder = tmp_path_factory.getbasetemp()
    try:
        config_of(folder, text)
    except ConfigError as error:
        assert "\n" not in str(error)
