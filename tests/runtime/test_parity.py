"""The figures of the certificate, and golden images that catch an engine computing something
else."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

from runtime.bundle.folder import Bundle
from runtime.bundle.golden import (
    REFERENCE_FILE,
    Compared,
    Parity,
    compare,
    record_golden,
    replay_golden,
)
from runtime.engines.base import Arrays, FakeEngine
from runtime.errors import BundleError, EngineError
from runtime.inspector import Inspector
from tests.cli import Done, lineside
from tests.runtime.tiny import ENGINES, computed, edit_thresholds, reseal, write_bundle


def compared(scores: list[float], threshold: float = 5.0, shift: float = 0.0) -> Compared:
    rng = np.random.default_rng(0)
    maps = [rng.random((8, 8)).astype(np.float32) + np.float32(shift) for _ in scores]
    return Compared(np.array(scores), maps, threshold)


def test_identical_results_differ_by_nothing() -> None:
    same = compare("openvino/fp32", "CPU", compared([1, 4, 9]), compared([1, 4, 9]))
    assert (same.max_score_difference, same.max_map_difference, same.verdict_flips) == (0.0, 0.0, 0)
    assert (same.images, same.score_range, same.holds) == (3, 8.0, True)


def test_differences_are_shares_of_the_reference_range() -> None:
    found = compare("openvino/fp32", "CPU", compared([1, 4, 9]), compared([1, 4.4, 8.8], shift=0.5))
    assert found.max_score_difference == pytest.approx(0.4 / 8)
    assert found.p99_score_difference == pytest.approx(np.quantile([0, 0.05, 0.025], 0.99))
    map_range = float(np.ptp(np.stack(list(compared([1, 4, 9]).maps))))
    assert found.max_map_difference == pytest.approx(0.5 / map_range, rel=1e-5)
    assert found.p99_map_difference == pytest.approx(0.5 / map_range, rel=1e-5)
    wider = compare(
        "openvino/fp32", "CPU", compared([1, 4, 9]), compared([1, 4.4, 8.8]), score_range=80.0
    )
    assert wider.max_score_difference == pytest.approx(0.4 / 80)


@pytest.mark.parametrize(
    ("precision", "difference", "holds"),
    [
        ("fp32", 9e-4, True),
        ("fp32", 1.1e-3, False),
        ("fp16", 0.049, True),
        ("fp16", 0.051, False),
        ("int8", 0.099, True),
        ("int8", 0.101, False),
    ],
)
def test_the_bound_belongs_to_the_precision(precision: str, difference: float, holds: bool) -> None:
    found = compare(
        f"openvino/{precision}", "CPU", compared([0, 10]), compared([0, 10 + 10 * difference])
    )
    assert found.holds is holds


def test_a_verdict_flip_fails_however_small_the_difference() -> None:
    found = compare(
        "openvino/fp32", "CPU", compared([0, 5.000001, 10]), compared([0, 4.999999, 10])
    )
    assert (found.verdict_flips, found.holds) == (1, False)
    own = compare("openvino/fp32", "CPU", compared([0, 6, 10]), compared([0, 6, 10], threshold=7.0))
    assert own.verdict_flips == 1, "each side is judged by its own threshold"


def test_a_score_that_is_no_number_never_holds() -> None:
    assert not compare(
        "openvino/fp32", "CPU", compared([0, 5, 10]), compared([0, float("nan"), 10])
    ).holds


def test_a_map_that_is_no_number_never_holds() -> None:
    broken = compared([0, 5, 10], shift=float("nan"))
    assert not compare("openvino/fp32", "CPU", compared([0, 5, 10]), broken).holds


@pytest.mark.parametrize("name", ["pred_score", "anomaly_map", "embedding"])
def test_an_output_that_is_no_number_is_no_verdict(tmp_path: Path, name: str) -> None:
    def broken(inputs: Arrays) -> Arrays:
        outputs = computed(inputs)
        outputs[name].flat[0] = np.nan
        return outputs

    picture = np.zeros((32, 32, 3), np.uint8)
    with Inspector(write_bundle(tmp_path / "bundle"), engine=FakeEngine(broken)) as inspector:
        found = inspector.inspect(picture)
        assert (found.verdict, found.is_fault) == ("cannot_judge", True)
        assert f"{name}: expected finite numbers" in found.reason
        with pytest.raises(EngineError, match=f"{name}: expected finite numbers"):
            inspector.infer(picture)


def test_a_smaller_map_is_brought_to_the_references_size() -> None:
    flat = Compared(np.array([1.0, 2.0]), [np.full((4, 4), v, np.float32) for v in (1, 2)], 5.0)
    large = Compared(np.array([1.0, 2.0]), [np.full((16, 16), v, np.float32) for v in (1, 2)], 5.0)
    assert compare("openvino/fp32", "CPU", large, flat).max_map_difference == pytest.approx(
        0.0, abs=1e-6
    )


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle")


def replay(bundle: Path, engine: str) -> Parity:
    with Bundle.open(bundle) as opened, Inspector(opened, engine=engine) as inspector:
        return replay_golden(opened, inspector)


@pytest.mark.parametrize("engine", ENGINES)
def test_golden_images_replay_on_both_engines(bundle: Path, engine: str) -> None:
    found = replay(bundle, engine)
    assert (found.variant, found.images, found.holds) == (f"{engine}/fp32", 4, True)
    assert found.max_score_difference < 1e-5
    assert found.max_map_difference < 1e-5


def test_a_threshold_moved_by_the_operator_is_no_flip(bundle: Path) -> None:
    edit_thresholds(bundle, image_threshold=1.0, pixel_threshold=1.0)
    assert replay(bundle, "openvino").holds


@pytest.mark.parametrize("what", ["scores", "image"])
def test_another_reference_is_caught(bundle: Path, what: str) -> None:
    golden = bundle / "golden"
    if what == "scores":
        alter_scores(golden / REFERENCE_FILE)
    else:
        shutil.copyfile(golden / "3.png", golden / "0.png")
    reseal(bundle)
    assert not replay(bundle, "openvino").holds


def test_a_variant_with_a_record_of_its_own_is_held_to_that(bundle: Path) -> None:
    alter_scores(bundle / "golden" / REFERENCE_FILE)
    reseal(bundle)
    with Bundle.open(bundle) as opened, Inspector(opened, engine="openvino") as inspector:
        assert not record_golden(opened, inspector, 64.0).holds
    reseal(bundle)
    assert replay(bundle, "openvino").max_score_difference == 0.0
    assert not replay(bundle, "onnxruntime").holds


@pytest.mark.parametrize(
    "damage", ["gone", "empty", "text", "cut", "key", "image gone", "image text"]
)
def test_a_damaged_golden_folder_is_a_bundle_error(bundle: Path, damage: str) -> None:
    path = bundle / "golden" / (REFERENCE_FILE if "image" not in damage else "2.png")
    whole = path.read_bytes()
    path.unlink()
    if damage == "key":
        np.savez(path, scores=np.zeros(4))
    elif "gone" not in damage:
        path.write_bytes(
            {"empty": b"", "cut": whole[: len(whole) // 2]}.get(damage, b"no such thing")
        )
    reseal(bundle)
    with pytest.raises(BundleError, match="golden"):
        replay(bundle, "openvino")


def test_a_pickle_in_the_reference_is_not_loaded(bundle: Path) -> None:
    path = bundle / "golden" / REFERENCE_FILE
    np.savez(
        path,
        scores=np.array([{"a": 1}], dtype=object),
        maps=np.zeros((1, 4, 4)),
        threshold=1.0,
        score_range=1.0,
    )
    reseal(bundle)
    with pytest.raises(BundleError, match="golden"):
        replay(bundle, "openvino")


def alter_scores(path: Path) -> None:
    with np.load(path) as stored:
        arrays = dict(stored)
    arrays["scores"] = arrays["scores"] + 0.01 * float(arrays["score_range"])
    np.savez(path, **arrays)


def test_a_damaged_model_cache_is_found_and_made_anew(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINESIDE_CACHE_DIR", str(tmp_path / "cache"))

    def verify() -> Done:
        return lineside("verify", bundle, "--engine", "openvino")

    assert verify().returncode == 0
    (blob,) = (tmp_path / "cache" / "openvino").rglob("*.blob")
    # The mid grey that the graph subtracts, which OpenVINO adds.
    gray, other = struct.pack("<f", -128.0), struct.pack("<f", -100.0)
    assert gray in blob.read_bytes()
    blob.write_bytes(blob.read_bytes().replace(gray, other))
    done = verify()
    assert "compiled anew" in done.stderr
    assert done.stdout.startswith("ok")
    assert done.returncode == 0
    # And it stays mended.
    done = verify()
    assert "compiled anew" not in done.stderr
    assert done.returncode == 0
