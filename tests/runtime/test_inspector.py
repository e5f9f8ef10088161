"""From a picture to a verdict: the tiny bundle against NumPy, the real models against themselves on
the other engine."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime.bundle.folder import MANIFEST_FILE, Bundle, pack_archive
from runtime.bundle.thresholds import (
    THRESHOLDS_FILE,
    Threshold,
    Thresholds,
    read_thresholds,
    write_thresholds,
)
from runtime.errors import BundleError, EngineError, LinesideError, ThresholdError
from runtime.images.preprocess import load_image
from runtime.inspector import Inspector
from tests.edge_app.tiny_bundle import SIDE
from tests.runtime.tiny import ENGINES, THRESHOLD, random_image, reference, write_bundle


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("tiny") / "bundle")


@pytest.fixture
def bundle(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "bundle"))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_prediction_is_what_the_graph_and_the_threshold_say(
    bundle: Path, engine: str, tmp_path: Path
) -> None:
    with Inspector(bundle, engine=engine) as inspector:
        for seed, strength in enumerate((10, 40, 90, 128)):
            image = random_image(seed, strength)
            assert cv2.imwrite(str(tmp_path / "p.png"), image[:, :, ::-1])
            expected = reference(image)
            score = float(expected["pred_score"][0])
            for source in (tmp_path / "p.png", (tmp_path / "p.png").read_bytes(), image):
                found = inspector.inspect(source)
                assert found.pred_score == pytest.approx(score, rel=1e-5)
                assert found.verdict == ("anomalous" if score > THRESHOLD else "good")
                assert found.normalized_score == pytest.approx(
                    inspector.threshold.normalized_score(score), abs=1e-5
                )
                np.testing.assert_allclose(
                    found.anomaly_map, expected["anomaly_map"][0, 0], atol=1e-4
                )
                np.testing.assert_allclose(found.embedding, expected["embedding"][0], atol=1e-5)
                assert found.heat_map().shape == inspector.size_hw
                assert found.latency_ms > 0
                assert (found.engine, found.precision, found.device) == (engine, "fp32", "CPU")


def test_a_picture_of_any_size_is_brought_to_the_models(bundle: Path) -> None:
    large = np.kron(random_image(1), np.ones((3, 5, 1), np.uint8))
    with Inspector(bundle) as inspector:
        found = inspector.inspect(large)
        assert found.pred_score == pytest.approx(
            reference(random_image(1))["pred_score"][0], rel=1e-5
        )


def test_a_score_at_the_threshold_is_good_and_one_above_it_is_not(bundle: Path) -> None:
    flat = np.full((SIDE, SIDE, 3), 128 + 64, np.uint8)
    with Inspector(bundle) as inspector:
        at, above = inspector.inspect(flat), inspector.inspect(flat + np.uint8(1))
    assert (at.pred_score, at.verdict, at.normalized_score) == (64.0, "good", 0.5)
    assert (above.pred_score, above.verdict) == (65.0, "anomalous")


def test_the_first_prediction_survives_the_second(bundle: Path) -> None:
    with Inspector(bundle) as inspector:
        first = inspector.inspect(random_image(0))
        kept = first.anomaly_map.copy(), first.embedding.copy()
        inspector.inspect(random_image(1))
    np.testing.assert_array_equal(first.anomaly_map, kept[0])
    np.testing.assert_array_equal(first.embedding, kept[1])


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((SIDE, SIDE, 4), np.uint8),
        np.zeros((SIDE, SIDE), np.uint8),
        np.zeros((SIDE, SIDE, 3), np.float32),
        np.zeros((SIDE, SIDE + 1, 3), np.uint8),
    ],
)
def test_infer_takes_the_models_input_only(bundle: Path, image: np.ndarray) -> None:
    with (
        Inspector(bundle) as inspector,
        pytest.raises(EngineError, match=r"expected uint8 .*found"),
    ):
        inspector.infer(image)


@pytest.mark.parametrize("side", [SIDE, 2 * SIDE])
@pytest.mark.parametrize("kind", ["floats in [0, 1]", "grey", "alpha", "sixteen bit"])
def test_a_picture_that_is_no_rgb_bytes_is_refused_at_any_size(
    bundle: Path, side: int, kind: str
) -> None:
    # Floats in [0, 1] turned to bytes would be a black picture, and a verdict about nothing.
    image = {
        "floats in [0, 1]": np.full((side, side, 3), 0.5, np.float32),
        "grey": np.full((side, side), 128, np.uint8),
        "alpha": np.full((side, side, 4), 128, np.uint8),
        "sixteen bit": np.full((side, side, 3), 30_000, np.uint16),
    }[kind]
    with Inspector(bundle) as inspector, pytest.raises(LinesideError, match="expected uint8"):
        inspector.inspect(image)


def test_a_threshold_edited_on_the_box_takes_effect_and_a_damaged_file_does_not(
    bundle: Path,
) -> None:
    path = bundle / THRESHOLDS_FILE
    image = random_image(2, 90)
    score = float(reference(image)["pred_score"][0])
    with Inspector(bundle) as inspector:
        assert inspector.inspect(image).verdict == "anomalous"
        raised = read_thresholds(path).with_threshold(
            "openvino/fp32", Threshold(score + 1, score, 1.0, "manual", 0)
        )
        write_thresholds(path, raised)
        assert inspector.inspect(image).verdict == "anomalous", "until it is read again"
        assert inspector.refresh_thresholds()
        assert not inspector.refresh_thresholds(), "nothing has changed since"
        assert inspector.inspect(image).verdict == "good"
        path.write_text("{", encoding="utf-8")
        assert inspector.refresh_thresholds()
        assert "the threshold cannot be used as it is now" in inspector.threshold_problem
        unjudged = inspector.inspect(image)
        assert (unjudged.verdict, unjudged.is_fault) == ("cannot_judge", True)
        assert inspector.threshold_problem in unjudged.reason
        write_thresholds(path, raised)
        assert inspector.refresh_thresholds()
        assert inspector.threshold_problem == ""
        assert inspector.inspect(image).verdict == "good"


def test_a_variant_or_threshold_that_is_not_there_is_named(bundle: Path) -> None:
    with pytest.raises(BundleError, match="openvino/int8, found openvino/fp32, onnxruntime/fp32"):
        Inspector(bundle, precision="int8")
    write_thresholds(bundle / THRESHOLDS_FILE, Thresholds({}))
    with pytest.raises(ThresholdError, match="lineside calibrate"):
        Inspector(bundle)


def test_a_graph_of_another_size_than_the_manifest_says_is_an_engine_error(bundle: Path) -> None:
    path = bundle / MANIFEST_FILE
    raw = json.loads(path.read_text(encoding="utf-8"))
    raw["input"]["height"] = 2 * SIDE
    path.write_text(json.dumps(raw), encoding="utf-8")
    for engine in ENGINES:
        with pytest.raises(EngineError), Inspector(bundle, engine=engine) as inspector:
            inspector.inspect(random_image(0))


@pytest.mark.parametrize("fault", ["none", "device", "precision", "thresholds"])
def test_the_unpacked_copy_of_an_archive_goes_away(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    if fault == "thresholds":
        write_thresholds(bundle / THRESHOLDS_FILE, Thresholds({}))
    pack_archive(bundle, tmp_path / "tile.lineside")
    own = tmp_path / "temp"
    own.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", os.fspath(own))
    options = {"device": {"device": "GPU.7"}, "precision": {"precision": "int8"}}.get(fault, {})
    try:
        with Inspector(tmp_path / "tile.lineside", **options) as inspector:
            assert inspector.inspect(random_image(0, 20)).verdict == "good"
            assert list(own.iterdir())
    except LinesideError:
        assert fault != "none"
    assert not list(own.iterdir())


def test_an_inspector_leaves_a_bundle_that_it_was_given_open(bundle: Path, tmp_path: Path) -> None:
    pack_archive(bundle, tmp_path / "tile.lineside")
    with Bundle.open(tmp_path / "tile.lineside") as opened:
        Inspector(opened).close()
        assert (opened.root / MANIFEST_FILE).is_file()


@pytest.mark.slow
@pytest.mark.parametrize("model", ["patchcore", "efficientad"])
def test_both_engines_judge_a_real_model_alike(
    model: str, request: pytest.FixtureRequest, sample_root: Path
) -> None:
    bundle = request.getfixturevalue(f"{model}_bundle")
    pictures = sorted((sample_root / "tile" / "test").rglob("*.png"))
    assert len(pictures) >= 10
    with (
        Inspector(bundle, engine="openvino") as first,
        Inspector(bundle, engine="onnxruntime") as second,
    ):
        pairs = [(first.inspect(path), second.inspect(path)) for path in pictures]
    scores = np.array([[a.pred_score, b.pred_score] for a, b in pairs])
    spread = float(np.ptp(scores[:, 0]))
    assert spread > 0
    assert np.abs(scores[:, 0] - scores[:, 1]).max() <= 1e-3 * spread
    assert [a.verdict for a, _ in pairs] == [b.verdict for _, b in pairs]
    map_range = max(float(np.ptp(a.anomaly_map)) for a, _ in pairs)
    for a, b in pairs:
        assert np.abs(a.anomaly_map - b.anomaly_map).max() <= 1e-2 * map_range
        assert float(a.embedding @ b.embedding) > 0.999
        assert float(np.linalg.norm(a.embedding)) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("model", ["patchcore", "efficientad"])
def test_a_real_graph_keeps_the_contract(
    model: str, engine: str, request: pytest.FixtureRequest, sample_root: Path
) -> None:
    bundle = request.getfixturevalue(f"{model}_bundle")
    picture = next(iter(sorted((sample_root / "tile" / "test").rglob("*.png"))))
    with Inspector(bundle, engine=engine) as inspector:
        manifest = inspector.bundle.manifest
        raw = inspector.infer(load_image(picture, inspector.size_hw))
        again = inspector.inspect(picture)
    assert raw.anomaly_map.shape == (manifest.outputs.map_height, manifest.outputs.map_width)
    assert raw.embedding.shape == (manifest.outputs.embedding_length,)
    assert again.pred_score == pytest.approx(raw.pred_score, rel=1e-6)
