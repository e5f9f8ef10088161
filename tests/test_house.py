"""The house stays one that can be held in the head: what CONTRIBUTING.md says of its files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("lineside", "runtime", "calibration", "export", "edge_app")
MOST_LINES = 400
MOST_FILES = 12
# Rooms of one shape: a command is called like what it does, and each model has the same files.
SAME_SHAPE = ("commands", "models")


def _modules(package: str) -> list[Path]:
    """Of a package, without the files that only make a folder one."""
    found = [p for p in (ROOT / package).rglob("*.py") if p.name != "__init__.py"]
    return [path.relative_to(ROOT) for path in sorted(found)]


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_is_longer_than_one_can_hold_in_the_head(package: str) -> None:
    everything = (ROOT / package).rglob("*.py")
    lengths = {p: len(p.read_text("utf-8").splitlines()) for p in everything}

    assert lengths
    assert {p: n for p, n in lengths.items() if n > MOST_LINES} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_folder_has_more_files_than_one_sees_at_a_glance(package: str) -> None:
    folders = Counter(path.parent for path in _modules(package) if path.parent.name != "commands")

    assert {p: n for p, n in folders.items() if n > MOST_FILES} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_name_of_a_file_is_used_twice_in_a_package(package: str) -> None:
    names = Counter(p.name for p in _modules(package) if not set(SAME_SHAPE) & set(p.parts))

    assert {name: n for name, n in names.items() if n > 1} == {}
