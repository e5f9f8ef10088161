"""Files and folders appear whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path

import pytest

from runtime import atomic


class StopError(Exception):
    """Something goes wrong half-way."""


def test_a_file_is_replaced_whole_and_readable_by_others(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    for value in ({"a": 1}, {"ü": [1.5]}):
        atomic.write_json(path, value)
    assert path.read_text(encoding="utf-8") == '{\n  "ü": [\n    1.5\n  ]\n}\n'
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_a_value_that_is_no_json_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    atomic.write_json(path, {"a": 1})
    for bad in (float("nan"), object()):
        with pytest.raises((TypeError, ValueError)):
            atomic.write_json(path, {"a": bad})
    assert '"a": 1' in path.read_text(encoding="utf-8")
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_put_in_place_leaves_nothing_half_written(tmp_path: Path) -> None:
    occupied = tmp_path / "state.json"
    (occupied / "inner").mkdir(parents=True)
    with pytest.raises(OSError, match="state"):
        atomic.write_bytes(occupied, b"x")
    assert list(tmp_path.iterdir()) == [occupied]


def test_a_folder_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "bundle"
    with atomic.folder(target) as building:
        (building / "a").write_text("new", encoding="utf-8")
        assert not target.exists()
    assert (target / "a").read_text(encoding="utf-8") == "new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o755
    assert list(target.parent.iterdir()) == [target]


def test_a_folder_keeps_its_permissions_and_a_link_leads_to_the_new_one(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    target, link = tmp_path / "v1", tmp_path / "current"
    target.mkdir()
    target.chmod(0o750)
    link.symlink_to(target)
    with atomic.folder(link) as building:
        (building / "a").write_text("new", encoding="utf-8")
        # A copied tree brings its own permissions.
        shutil.copytree(private, building, dirs_exist_ok=True)
    assert link.is_symlink()
    assert (target / "a").read_text(encoding="utf-8") == "new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o750


def test_a_file_name_that_is_no_utf8_is_written(tmp_path: Path) -> None:
    atomic.write_json(tmp_path / "a.json", {"skipped": [os.fsdecode(b"Geh\xe4use.png")]})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {
        "skipped": ["Geh\ufffduse.png"]
    }


@pytest.mark.parametrize("error", [StopError, KeyboardInterrupt])
def test_a_failed_block_leaves_the_old_folder(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "bundle"
    target.mkdir()
    (target / "a").write_text("old", encoding="utf-8")
    with pytest.raises(error), atomic.folder(target) as building:
        (building / "a").write_text("new", encoding="utf-8")
        raise error
    assert (target / "a").read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_an_old_folder_is_replaced_and_none_of_its_files_stay(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    target.mkdir()
    (target / "stale").write_text("old", encoding="utf-8")
    with atomic.folder(target) as building:
        (building / "a").write_text("new", encoding="utf-8")
    assert [path.name for path in target.iterdir()] == ["a"]
    assert list(tmp_path.iterdir()) == [target]


def test_an_old_folder_comes_back_if_the_new_one_cannot_be_put_in_place(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    target.mkdir()
    (target / "a").write_text("old", encoding="utf-8")
    with pytest.raises(OSError), atomic.folder(target) as building:
        # Whatever takes the new folder away before the end: a cleaner of temporary files, a person.
        building.rmdir()
    assert (target / "a").read_text(encoding="utf-8") == "old"
