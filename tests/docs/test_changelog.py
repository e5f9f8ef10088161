"""CHANGELOG.md in the form of keepachangelog.com, and one version for the whole project."""

from __future__ import annotations

import re
import tomllib
from datetime import date

from packaging.version import Version

from tests.docs.markdown import ROOT

KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
VERSION = Version(
    tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
)


def sections() -> dict[str, list[str]]:
    """The lines of each version by its heading."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            assert line not in found
            lines = found[line] = []
        else:
            lines.append(line)
    return found


def test_headings_are_unreleased_and_dated_versions_newest_first() -> None:
    first, *released = sections()
    assert first == "## [Unreleased]"
    dated = [re.fullmatch(r"## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)", one) for one in released]
    assert all(dated), released
    versions = [(Version(one[1]), date.fromisoformat(one[2])) for one in dated if one]
    assert versions == sorted(versions, reverse=True)


def test_changes_stand_below_the_six_kinds_each_once() -> None:
    for heading, lines in sections().items():
        kinds = [line.removeprefix("### ") for line in lines if line.startswith("### ")]
        assert len(kinds) == len(set(kinds)), heading
        assert set(kinds) <= KINDS, heading
        before = "\n".join(lines).partition("### ")[0]
        assert not re.search(r"^- ", before, re.MULTILINE), f"{heading}: an entry without a kind"


def test_the_version_is_the_next_one_or_the_newest_that_is_released() -> None:
    released = [Version(one.split("]")[0].removeprefix("## [")) for one in list(sections())[1:]]
    if VERSION.is_devrelease:
        assert Version(VERSION.base_version) > released[0]
        unreleased = "\n".join(sections()["## [Unreleased]"])
        assert f"The next version is {VERSION.base_version}." in unreleased
    else:
        assert released[0] == VERSION
