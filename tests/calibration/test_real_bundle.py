"""The commands as a user types them, on models that anomalib trained."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from runtime.bundle.folder import Bundle
from runtime.images.dataset import load_category
from runtime.inspector import Inspector
from tests.cli import lineside

pytestmark = pytest.mark.slow


@pytest.fixture
def own_copy(patchcore_bundle, tmp_path):
    """A bundle whose thresholds may be changed."""
    return shutil.copytree(patchcore_bundle, tmp_path / "bundle")


def test_evaluate_both_models(patchcore_bundle, efficientad_bundle, sample_root):
    done = lineside(
        "evaluate", patchcore_bundle, efficientad_bundle, "--data", sample_root, "--json"
    )
    assert done.returncode == 0, done.stderr
    patchcore, efficientad = (json.loads(line) for line in done.stdout.splitlines())
    assert (patchcore["model"], efficientad["model"]) == ("patchcore", "efficientad")
    assert patchcore["category"] == "tile"
    assert patchcore["n_masks"] == patchcore["n_anomalous"] > 0
    with Inspector(patchcore_bundle) as inspector:
        parts = load_category(sample_root, "tile").test
        scores = [inspector.inspect(part.path).pred_score for part in parts]
    truth = [part.is_anomalous for part in parts]
    assert patchcore["image_auroc"] == pytest.approx(roc_auc_score(truth, scores), abs=1e-9)
    for row in (patchcore, efficientad):
        assert 0 <= row["aupro"] <= 1
        assert 0 <= row["aupro_05"] <= 1
        assert 0 <= row["pixel_auroc"] <= 1


def test_both_engines_agree(patchcore_bundle, sample_root):
    rows = [
        json.loads(
            lineside(
                "evaluate", patchcore_bundle, "--data", sample_root, "--engine", engine, "--json"
            ).stdout
        )
        for engine in ("openvino", "onnxruntime")
    ]
    for name in ("image_auroc", "image_f1_max", "pixel_auroc", "aupro"):
        assert rows[0][name] == pytest.approx(rows[1][name], abs=1e-3)


def test_calibrate_keeps_good_parts_below_the_threshold_on_every_engine(own_copy, sample_root):
    good = sample_root / "tile" / "test" / "good"
    done = lineside("calibrate", own_copy, "--good", good, "--json")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["engine"], row["false_rejects"]) for row in rows] == [
        ("openvino", 0),
        ("onnxruntime", 0),
    ]
    assert "good pictures, found 6" in done.stderr
    assert np.isclose(rows[0]["image_threshold"], rows[1]["image_threshold"], rtol=1e-3)
    with Inspector(own_copy) as inspector:
        scores = [inspector.inspect(path).pred_score for path in sorted(good.iterdir())]
        assert inspector.threshold.image_threshold == pytest.approx(max(scores))


def test_errors_are_one_line_with_exit_code_1(own_copy, tmp_path):
    assert "nothing there" in lineside("calibrate", own_copy, "--good", tmp_path / "nowhere").line()


def test_calibrate_then_roll_back(own_copy, sample_root):
    before = Bundle.open(own_copy).thresholds().variants
    lineside("calibrate", own_copy, "--good", sample_root / "tile" / "test" / "good")
    assert Bundle.open(own_copy).thresholds().variants != before
    done = lineside("thresholds", own_copy, "rollback")
    assert done.returncode == 0, done.stderr
    assert Bundle.open(own_copy).thresholds().variants == before


def test_report_of_both_models(patchcore_bundle, efficientad_bundle, sample_root, tmp_path):
    out = tmp_path / "report.html"
    done = lineside(
        "report", patchcore_bundle, efficientad_bundle, "--data", sample_root, "--out", out
    )
    assert done.returncode == 0, done.stderr
    page = out.read_text(encoding="utf-8")
    assert "PatchCore" in page
    assert "EfficientAD" in page
    assert "Parity certificate" in page
