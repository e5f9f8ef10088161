"""OpenVINO's compiled models on disk: damaged ones are never loaded."""

from __future__ import annotations

import os
import random
import struct
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from runtime.engines import cache as cache_module
from runtime.engines.base import empty_model_cache
from runtime.engines.openvino import OpenVINOEngine
from tests.cli import lineside
from tests.edge_app.tiny_bundle import SIDE, write_tiny_bundle
from tests.runtime.faults import pictures
from tests.runtime.tiny import random_image, reference, write_bundle

MODEL = "openvino/fp32/model.xml"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LINESIDE_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "openvino"


@pytest.fixture
def model(tmp_path: Path, cache: Path) -> Path:
    path = write_bundle(tmp_path / "bundle") / MODEL
    OpenVINOEngine(path).close()
    return path


def the_blob(cache: Path) -> Path:
    (blob,) = cache.rglob("*.blob")
    return blob


def score(model: Path) -> float:
    engine = OpenVINOEngine(model)
    found = engine.run({"image": random_image(1)[None]})["pred_score"]
    engine.close()
    return float(found[0])


EXPECTED = float(reference(random_image(1))["pred_score"][0])


def test_a_whole_one_is_loaded_and_stays(model: Path, cache: Path) -> None:
    before = the_blob(cache).stat()
    assert score(model) == pytest.approx(EXPECTED, rel=1e-5)
    after = the_blob(cache).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_any_flipped_byte_is_told_and_compiled_anew(
    model: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    generator = random.Random(0)
    for _ in range(12):
        blob = the_blob(cache)
        content = bytearray(blob.read_bytes())
        content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        blob.chmod(0o644)
        blob.write_bytes(bytes(content))
        caplog.clear()
        assert score(model) == pytest.approx(EXPECTED, rel=1e-5)
        assert "the compiled model was damaged" in caplog.text
    caplog.clear()
    assert score(model) == pytest.approx(EXPECTED, rel=1e-5)
    assert caplog.text == ""


def test_a_constant_changed_in_the_cache_changes_no_verdict(
    model: Path, cache: Path, tmp_path: Path
) -> None:
    """Without the checksum every part below is called good: OpenVINO believes its cache."""
    blob = the_blob(cache)
    gray, other = struct.pack("<f", -128.0), struct.pack("<f", np.float32(-100.0))
    assert gray in blob.read_bytes()
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes().replace(gray, other))
    pictures(tmp_path / "in", 3)
    done = lineside("inspect", model.parents[2], tmp_path / "in")
    assert done.stdout.count("anomalous") == 3
    assert "compiled anew" in done.stderr


@pytest.mark.parametrize("what", ["no checksum", "empty checksum", "cut blob", "foreign blob"])
def test_what_has_no_right_checksum_is_not_loaded(model: Path, cache: Path, what: str) -> None:
    blob = the_blob(cache)
    checksum = blob.with_name(f"{blob.name}.sha256")
    blob.chmod(0o644)
    if what == "no checksum":
        checksum.unlink()
    elif what == "empty checksum":
        checksum.write_bytes(b"")
    elif what == "cut blob":
        blob.write_bytes(blob.read_bytes()[:100])
    else:
        blob.with_name("1.blob").write_bytes(blob.read_bytes())
    before = blob.stat().st_ino
    assert score(model) == pytest.approx(EXPECTED, rel=1e-5)
    assert (the_blob(cache).stat().st_ino == before) == (what == "foreign blob")


def test_blobs_of_older_versions_are_removed(model: Path, cache: Path) -> None:
    (cache / "123.blob").write_bytes(b"of an older version")
    score(model)
    assert not (cache / "123.blob").exists()


def test_a_damaged_one_that_cannot_be_removed_is_not_used(
    model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(1, "not permitted")

    blob = the_blob(cache)
    blob.chmod(0o644)
    blob.write_bytes(b"damaged")
    monkeypatch.setattr(Path, "unlink", refused)
    assert score(model) == pytest.approx(EXPECTED, rel=1e-5)
    assert cache_module.trusted_cache(model, "CPU", {}) is not None, "another configuration's"


def test_emptying_takes_all_of_them(model: Path, cache: Path) -> None:
    assert empty_model_cache()
    assert not list(cache.rglob("*.blob"))
    assert not empty_model_cache()
    assert score(model) == pytest.approx(EXPECTED, rel=1e-5)


def test_another_model_with_the_same_time_is_compiled(tmp_path: Path, cache: Path) -> None:
    """``cp -p`` and ``rsync -t`` keep times, and OpenVINO knows a model by name and time."""
    before, after = tmp_path / "1" / "openvino/fp32", tmp_path / "2" / "openvino/fp32"
    for folder, gain in ((before, 1.0), (after, 2.0)):
        write_tiny_bundle(folder.parents[1], gain=gain)
    image = {"image": np.zeros((1, SIDE, SIDE, 3), np.uint8)}
    with closing(OpenVINOEngine(before / "model.xml")) as engine:
        assert float(engine.run(image)["pred_score"][0]) == 128.0
    for name in ("model.xml", "model.bin"):
        was = (before / name).stat().st_mtime_ns
        (before / name).write_bytes((after / name).read_bytes())
        os.utime(before / name, ns=(was, was))
    for _ in range(2):
        with closing(OpenVINOEngine(before / "model.xml")) as engine:
            assert float(engine.run(image)["pred_score"][0]) == 256.0
    the_blob(cache)
