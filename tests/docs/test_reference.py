"""The reference of every command is what the commands say of themselves."""

from __future__ import annotations

from importlib.metadata import entry_points

from scripts.reference import PAGE, render


def test_the_reference_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), "type: python -m scripts.reference"


def test_every_command_has_an_example_and_a_section() -> None:
    page = render()
    names = [entry.name for entry in entry_points(group="lineside.commands")]
    assert names
    for name in names:
        section = page.split(f"## lineside {name}\n")[1].split("\n## ")[0]
        assert f"lineside {name}" in section.split("Example", 1)[1]
