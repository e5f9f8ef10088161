"""The diagram and the table of rooms are what the imports and docstrings say."""

from __future__ import annotations

import tomllib

import pytest

from scripts.architecture import PAGE, PICTURE, Package, packages, page, picture
from tests.docs.markdown import ROOT

STALE = "type: python -m scripts.architecture"


@pytest.fixture(scope="module")
def made() -> list[Package]:
    return packages()


def test_the_picture_and_the_table_are_up_to_date(made: list[Package]) -> None:
    assert PICTURE.read_text(encoding="utf-8") == picture(made), STALE
    text = PAGE.read_text(encoding="utf-8")
    assert text == page(text, made), STALE


def test_the_levels_are_those_that_import_linter_holds(made: list[Package]) -> None:
    level = {one.name: one.level for one in made}
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    layers = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    assert layers
    for order in layers:
        # The front door imports lazily what stands beside it.
        levels = [level[name] for name in order if name != "lineside"]
        assert levels == sorted(levels, reverse=True)
        assert len(set(levels)) == len(levels)


def test_every_room_says_what_it_is(made: list[Package]) -> None:
    rooms = [(one.name, room, does) for one in made for room, does in one.rooms.items()]
    assert len(rooms) > 20
    assert [(name, room) for name, room, does in rooms if len(does.split()) < 4] == []
