"""The reference of every command is what the commands say of themselves."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from scripts.reference import PAGE

RENDER = "from scripts.reference import render; print(render(), end='')"


@pytest.fixture(scope="module")
def rendered() -> str:
    # A process of its own: click remembers the help option of a command that a test has called by
    # itself.
    done = subprocess.run(
        [sys.executable, "-c", RENDER],
        cwd=PAGE.parents[1],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


def test_the_reference_is_up_to_date(rendered: str) -> None:
    assert PAGE.read_text(encoding="utf-8") == rendered, "type: python -m scripts.reference"


def test_every_command_has_an_example_and_a_section(rendered: str) -> None:
    names = [entry.name for entry in entry_points(group="lineside.commands")]
    assert names
    for name in names:
        section = rendered.split(f"## lineside {name}\n")[1].split("\n## ")[0]
        assert f"lineside {name}" in section.split("Example", 1)[1]
