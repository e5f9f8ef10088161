"""One file instead of a folder: the same verdicts, and nothing half-written."""

from __future__ import annotations

import errno
import os
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from runtime.bundle.folder import Bundle, pack_archive
from runtime.errors import BundleError
from runtime.inspector import Inspector
from tests.cli import lineside
from tests.runtime.tiny import random_image, write_bundle
from tests.runtime.unwell import CAMERA, write_healthy_bundle


def test_a_packed_bundle_gives_the_same_score(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    packed = tmp_path / "tiny.lineside"
    done = lineside("pack", bundle, packed)
    assert done.returncode == 0, done.stderr
    with Inspector(bundle) as folder, Inspector(packed) as file:
        assert (
            folder.inspect(random_image(1)).pred_score == file.inspect(random_image(1)).pred_score
        )


def test_a_damaged_bundle_or_a_wrong_name_is_refused(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    line = lineside("pack", bundle, tmp_path / "tiny.zip").line()
    assert "expected a name that ends in .lineside" in line
    model = next(bundle.rglob("*.bin"))
    model.write_bytes(model.read_bytes() + b"x")
    assert "expected sha256" in lineside("pack", bundle, tmp_path / "t.lineside").line()
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_what_would_destroy_a_bundle_is_refused(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    packed = tmp_path / "tiny.lineside"
    assert lineside("pack", bundle, packed).returncode == 0
    before = packed.read_bytes()
    for arguments, expected in (
        ((packed, packed), "found a packed one"),
        ((bundle, bundle / "x.lineside"), "outside of the bundle"),
    ):
        assert expected in lineside("pack", *arguments).line()
    assert packed.read_bytes() == before
    Bundle.open(bundle)


def test_files_from_a_box_without_a_clock_are_packed(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    os.utime(bundle / "thresholds.json", (0, 0))
    packed = tmp_path / "tiny.lineside"
    assert lineside("pack", bundle, packed).returncode == 0
    with Bundle.open(packed) as opened:
        assert opened.thresholds() == Bundle.open(bundle).thresholds()


@pytest.mark.parametrize(
    "left",
    [".thresholds.json.k3j2h1", ".health.json.abc", "thresholds.json~", ".thresholds.json.swp"],
)
def test_what_an_editor_or_a_power_cut_left_is_neither_read_nor_packed(
    tmp_path: Path, left: str
) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    (bundle / left).write_bytes(b"{")
    packed = tmp_path / "tiny.lineside"
    pack_archive(bundle, packed)
    with Bundle.open(packed) as opened:
        assert not (opened.root / left).exists()
    (bundle / "more.json").write_bytes(b"{}")
    with pytest.raises(BundleError, match="found one more"):
        Bundle.open(bundle)


def test_a_clean_up_of_the_temporary_folder_changes_no_verdict(tmp_path: Path) -> None:
    packed = tmp_path / "tiny.lineside"
    pack_archive(write_healthy_bundle(tmp_path / "bundle"), packed)
    dark = np.zeros((CAMERA, CAMERA, 3), np.uint8)
    with Inspector(packed) as inspector:
        for name in ("thresholds.json", "health.json"):
            (inspector.bundle.root / name).unlink()
        assert not inspector.refresh_thresholds()
        assert not inspector.refresh_health()
        assert inspector.inspect(dark).verdict == "cannot_judge"


def test_no_room_to_unpack_is_not_a_damaged_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = tmp_path / "tiny.lineside"
    pack_archive(write_bundle(tmp_path / "bundle"), packed)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "extractall", full)
    with pytest.raises(BundleError, match=r"expected room in .* set TMPDIR"):
        Bundle.open(packed)


@pytest.mark.parametrize("compression", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED])
def test_only_common_compressions_are_unpacked(tmp_path: Path, compression: int) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    packed = tmp_path / "tile.lineside"
    with zipfile.ZipFile(packed, "w", compression) as archive:
        for path in (path for path in bundle.rglob("*") if path.is_file()):
            archive.write(path, path.relative_to(bundle).as_posix())
    if compression == zipfile.ZIP_DEFLATED:
        Bundle.open(packed).close()
        return
    damaged = packed.read_bytes()
    packed.write_bytes(damaged[:200] + bytes(50) + damaged[250:])
    with pytest.raises(BundleError, match="expected"):
        Bundle.open(packed)


def test_a_bomb_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    large, many = tmp_path / "large.lineside", tmp_path / "many.lineside"
    with zipfile.ZipFile(large, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("bundle.json", bytes(65 << 20))
    with zipfile.ZipFile(many, "w") as out:
        for index in range(2001):
            out.writestr(f"{index}", b"")
    monkeypatch.setattr(zipfile.ZipFile, "extractall", None)
    for path, found in ((large, "found 1 and 65 MiB"), (many, "found 2001 and 0 MiB")):
        with pytest.raises(BundleError, match=found):
            Bundle.open(path)
    assert {path.name for path in tmp_path.iterdir()} == {large.name, many.name}


def test_what_a_killed_process_left_unpacked_is_removed_and_what_is_in_use_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    packed = tmp_path / "tiny.lineside"
    pack_archive(write_bundle(tmp_path / "tiny"), packed)
    left = tmp_path / "lineside-bundle-killed"
    left.mkdir()
    with Bundle.open(packed) as used:
        for folder in (left, used.root):
            os.utime(folder, (0, 0))
        with Bundle.open(packed) as other:
            assert not left.exists()
            assert used.thresholds() == other.thresholds()
    assert not list(tmp_path.glob("lineside-bundle-*"))
