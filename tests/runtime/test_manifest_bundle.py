"""Opening a bundle: whatever was changed, added, lost or smuggled in is named before anything is
used."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.bundle.folder import Bundle, pack_archive
from runtime.bundle.packed import safe_member
from runtime.bundle.thresholds import THRESHOLDS_FILE
from runtime.errors import BundleError, ThresholdError
from tests.cli import lineside
from tests.edge_app.tiny_bundle import write_tiny_bundle

MODEL = "openvino/fp32/model.xml"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("pristine") / "bundle")


@pytest.fixture
def bundle(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "bundle"))


def edit_manifest(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = bundle / "bundle.json"
    raw = json.loads(path.read_text(encoding="utf-8"))
    change(raw)
    path.write_text(json.dumps(raw), encoding="utf-8")


def refuse(path: Path, message: str) -> str:
    with pytest.raises(BundleError, match=message) as caught:
        Bundle.open(path)
    assert "\n" not in str(caught.value)
    assert ";" in str(caught.value), "the message says what to do"
    return str(caught.value)


def test_a_whole_bundle_opens(bundle: Path) -> None:
    with Bundle.open(bundle) as opened:
        assert opened.root == bundle
        assert opened.manifest.variant("openvino", "fp32").path == MODEL
        assert opened.model_path(opened.manifest.variants[0]).is_file()
    assert bundle.is_dir(), "closing leaves a folder alone"


@pytest.mark.parametrize("name", [MODEL, "openvino/fp32/model.bin"])
@pytest.mark.parametrize("where", [0, -1])
def test_a_changed_byte_is_found(bundle: Path, name: str, where: int) -> None:
    data = bytearray((bundle / name).read_bytes())
    data[where] ^= 1
    (bundle / name).write_bytes(data)
    assert name in refuse(bundle, "expected sha256")


def test_a_file_cut_short_is_found(bundle: Path) -> None:
    path = bundle / MODEL
    path.write_bytes(path.read_bytes()[:-1])
    refuse(bundle, r"bytes\), found")


def test_a_missing_file_is_named(bundle: Path) -> None:
    (bundle / MODEL).unlink()
    assert MODEL in refuse(bundle, "found nothing")


def test_an_extra_file_is_named(bundle: Path) -> None:
    (bundle / "openvino" / "payload.pkl").write_bytes(b"x")
    assert "payload.pkl" in refuse(bundle, "found one more")


@pytest.mark.parametrize(
    "kind", ["file", "dangling", "folder", "recorded", "manifest", "thresholds"]
)
def test_a_symbolic_link_is_refused(bundle: Path, tmp_path: Path, kind: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    if kind in ("recorded", "manifest", "thresholds"):
        name = {"recorded": MODEL, "manifest": "bundle.json", "thresholds": THRESHOLDS_FILE}[kind]
        target = Path(shutil.move(bundle / name, outside / "moved"))
        (bundle / name).symlink_to(target)
    elif kind == "folder":
        shutil.move(bundle / "openvino" / "fp32", outside / "fp32")
        (bundle / "openvino" / "fp32").symlink_to(outside / "fp32")
    else:
        target = bundle / MODEL if kind == "file" else outside / "nowhere"
        (bundle / "link").symlink_to(target)
    refuse(bundle, "symbolic link")


@pytest.mark.parametrize(
    "name", ["../outside.bin", "/etc/hostname", "a/../../b", "C:\\x", "a\\b", "a\0b", ""]
)
def test_a_name_that_leaves_the_bundle_is_refused(bundle: Path, name: str) -> None:
    edit_manifest(bundle, lambda raw: raw["files"].update({name: {"size": 1, "sha256": "0" * 64}}))
    refuse(bundle, "inside the bundle")
    with pytest.raises(BundleError):
        safe_member(name)


def test_a_newer_schema_says_to_upgrade(bundle: Path) -> None:
    edit_manifest(bundle, lambda raw: raw.update(schema_version=2))
    refuse(bundle, "expected schema version 1, found 2; type: pip install --upgrade lineside")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff\xfe", b"null"])
def test_a_damaged_manifest_is_refused(bundle: Path, data: bytes) -> None:
    (bundle / "bundle.json").write_bytes(data)
    refuse(bundle, "bundle.json")


def test_what_is_no_bundle_says_how_to_make_one(tmp_path: Path) -> None:
    refuse(tmp_path, "a folder without bundle.json.*lineside train")
    refuse(tmp_path / "nowhere", "nothing there.*lineside train")


def test_an_unknown_variant_lists_those_there(bundle: Path) -> None:
    with pytest.raises(BundleError, match="onnxruntime/int8, found openvino/fp32"):
        Bundle.open(bundle).manifest.variant("onnxruntime", "int8")


def test_thresholds_may_be_edited_and_are_read_anew(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    path = bundle / THRESHOLDS_FILE
    raw = json.loads(path.read_text(encoding="utf-8"))
    raw["variants"]["openvino/fp32"]["image_threshold"] = 12.5
    path.write_text(json.dumps(raw), encoding="utf-8")
    with pytest.raises(ThresholdError, match="values that go with its seal"):
        opened.thresholds()
    assert lineside("thresholds", bundle, "seal").returncode == 0
    assert opened.thresholds().of("openvino/fp32").image_threshold == 12.5
    Bundle.open(bundle)
    path.unlink()
    with pytest.raises(ThresholdError, match=r"thresholds\.json"):
        opened.thresholds()


def test_an_archive_round_trip_keeps_every_byte(
    bundle: Path, tmp_path: Path, own_temp: Path
) -> None:
    archive = tmp_path / "out" / "tile.lineside"
    archive.parent.mkdir()
    pack_archive(bundle, archive)
    assert [path.name for path in archive.parent.iterdir()] == ["tile.lineside"]
    with Bundle.open(archive) as opened:
        assert opened.source == archive
        assert opened.manifest == Bundle.open(bundle).manifest
        assert content(opened.root) == content(bundle)
        assert list(own_temp.iterdir()) == [opened.root]
    assert not list(own_temp.iterdir()), "the unpacked copy is removed"


def test_a_damaged_bundle_is_not_packed(bundle: Path, tmp_path: Path) -> None:
    (bundle / MODEL).unlink()
    with pytest.raises(BundleError):
        pack_archive(bundle, tmp_path / "tile.lineside")
    assert not list(tmp_path.glob("*.lineside*"))


def test_an_archive_is_verified_like_a_folder(bundle: Path, tmp_path: Path, own_temp: Path) -> None:
    archive = tmp_path / "tile.lineside"
    with zipfile.ZipFile(archive, "w") as out:
        for name, data in content(bundle).items():
            out.writestr(name, data + b" " if name == MODEL else data)
    refuse(archive, "expected sha256")
    assert not list(own_temp.iterdir()), "a refused archive leaves nothing behind"


@pytest.mark.parametrize("name", ["../escaped", "/absolute/escaped", "a/../../escaped"])
def test_an_archive_member_that_leaves_the_folder_is_refused(
    bundle: Path, tmp_path: Path, own_temp: Path, name: str
) -> None:
    archive = tmp_path / "tile.lineside"
    pack_archive(bundle, archive)
    with zipfile.ZipFile(archive, "a") as out:
        out.writestr(name, b"x")
    refuse(archive, "inside the bundle")
    assert not list(own_temp.rglob("escaped"))


def test_a_symbolic_link_in_an_archive_is_refused(bundle: Path, tmp_path: Path) -> None:
    archive = tmp_path / "tile.lineside"
    pack_archive(bundle, archive)
    link = zipfile.ZipInfo("openvino/link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(archive, "a") as out:
        out.writestr(link, "/etc/hostname")
    refuse(archive, "symbolic link")


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tile.lineside"
    for data in (b"", b"PK\x05\x06", b"no zip at all" * 100):
        path.write_bytes(data)
        refuse(path, "expected")


def test_an_archive_cut_short_is_refused(bundle: Path, tmp_path: Path) -> None:
    archive = tmp_path / "tile.lineside"
    pack_archive(bundle, archive)
    whole = archive.read_bytes()
    for kept in (0.1, 0.5, 0.9, 0.999):
        archive.write_bytes(whole[: int(len(whole) * kept)])
        refuse(archive, "expected")


def test_a_compressed_archive_with_damaged_data_is_refused(bundle: Path, tmp_path: Path) -> None:
    archive = tmp_path / "tile.lineside"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in content(bundle).items():
            out.writestr(name, data)
    with zipfile.ZipFile(archive) as stored:
        start = stored.getinfo(MODEL).header_offset + 30 + len(MODEL)
    damaged = bytearray(archive.read_bytes())
    damaged[start : start + 8] = b"\xff" * 8
    archive.write_bytes(damaged)
    refuse(archive, "expected")


def test_an_encrypted_archive_is_refused(bundle: Path, tmp_path: Path) -> None:
    archive = tmp_path / "tile.lineside"
    pack_archive(bundle, archive)
    data = bytearray(archive.read_bytes())
    # Bit 0 of the flags in each directory entry says "encrypted".
    place = data.find(b"PK\x01\x02")
    while place != -1:
        data[place + 8] |= 1
        place = data.find(b"PK\x01\x02", place + 4)
    archive.write_bytes(data)
    refuse(archive, "expected")


def content(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


@pytest.fixture
def own_temp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for temporary files, so that what is left behind shows."""
    folder = tmp_path / "temp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", os.fspath(folder))
    return folder
