"""``lineside evaluate`` on pictures whose scores are known in advance."""

from __future__ import annotations

import dataclasses
import json

import cv2
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from calibration.evaluation import evaluate, find_category
from calibration.figures import averages
from calibration.scoring import digest_of
from runtime.bundle.folder import Bundle, seal
from runtime.bundle.manifest import TRAIN_DIGESTS
from runtime.errors import DataError
from runtime.images.dataset import load_category, load_mask
from runtime.images.preprocess import load_image
from runtime.inspector import Inspector
from tests.calibration.synthetic import data_root, good_folder, two_variant_bundle
from tests.cli import lineside

GOOD = [0, 10, 20, 30, 35, 50]
BAD = {"dent": [100, 110, 120], "scratch": [40, 70, 80]}


@pytest.fixture
def bundle(tmp_path):
    return two_variant_bundle(tmp_path / "bundle")


@pytest.fixture
def root(tmp_path):
    return data_root(tmp_path / "data")


def rows_of(*arguments):
    done = lineside("evaluate", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_figures_follow_from_the_known_scores(bundle, root):
    (row,) = rows_of(bundle, "--data", root)
    labels = [0] * 6 + [1] * 6
    scores = GOOD + BAD["dent"] + BAD["scratch"]
    assert row["model"] == "patchcore"
    assert row["category"] == "tile"
    assert (row["engine"], row["precision"]) == ("openvino", "fp32")
    assert (row["n_good"], row["n_anomalous"], row["n_skipped"], row["n_masks"]) == (6, 6, 0, 6)
    assert row["image_auroc"] == pytest.approx(roc_auc_score(labels, scores))
    assert row["image_auroc_low"] <= row["image_auroc"] <= row["image_auroc_high"]
    # Threshold 64: the scratch of 40 is missed, nothing good is rejected. Best F1: flag from 40 on,
    # 50 comes along.
    assert (row["false_rejects"], row["misses"]) == (0, 1)
    # Any threshold that rejects no good part lies at 50 or above.
    assert row["best_misses"] == 1
    assert row["image_f1_max"] == pytest.approx(12 / 13)
    assert 35 < row["image_f1_max_threshold"] < 40
    scratch = [roc_auc_score([0] * 6 + [1] * 3, GOOD + BAD["scratch"])]
    assert [(d["defect_type"], d["misses"]) for d in row["defects"]] == [
        ("dent", 0),
        ("scratch", 1),
    ]
    assert [d["image_auroc"] for d in row["defects"]] == pytest.approx([1.0, *scratch])
    assert row["p50_latency_ms"] > 0


def test_upper_bounds_of_the_error_rates(bundle, root):
    """0 of 6: 1 - 0.05^(1/6); the bound of 1 of 6 solves P(X <= 1) = 0.05."""
    (row,) = rows_of(bundle, "--data", root)
    assert row["false_reject_rate_high"] == pytest.approx(1 - 0.05 ** (1 / 6))
    p = row["miss_rate_high"]
    assert (1 - p) ** 6 + 6 * p * (1 - p) ** 5 == pytest.approx(0.05)


def test_pixel_figures_agree_with_scikit_learn_on_the_same_maps(bundle, root):
    (row,) = rows_of(bundle, "--data", root)
    maps, masks = [], []
    with Inspector(bundle) as inspector:
        for part in load_category(root, "tile").test:
            maps.append(inspector.inspect(part.path).heat_map())
            masks.append(load_mask(part, (32, 32)))
    expected = roc_auc_score(np.stack(masks).ravel(), np.stack(maps).ravel())
    assert row["pixel_auroc"] == pytest.approx(expected, abs=1e-4)
    assert 0.5 < row["aupro"] <= 1.0
    assert 0.0 < row["aupro_05"] <= row["aupro"]


def test_without_masks_pixel_figures_are_null(bundle, tmp_path):
    (row,) = rows_of(bundle, "--data", data_root(tmp_path / "bare", masks=False))
    assert row["pixel_auroc"] is None
    assert row["aupro"] is None
    assert row["aupro_05"] is None
    assert row["image_auroc"] is not None


def test_anomalous_parts_without_a_mask_are_left_out_of_pixel_figures(bundle, root):
    whole = rows_of(bundle, "--data", root)[0]
    (root / "tile/ground_truth/scratch/0_mask.png").unlink()
    part = rows_of(bundle, "--data", root)[0]
    assert (whole["n_masks"], part["n_masks"]) == (6, 5)
    # The missed scratch is the weakest; counted as a good part it would have pulled the figure
    # down.
    assert part["pixel_auroc"] > whole["pixel_auroc"]
    assert part["image_auroc"] == whole["image_auroc"]


def test_a_mask_that_marks_nothing_is_told_and_left_out(bundle, root):
    target = root / "tile/ground_truth/scratch/0_mask.png"
    cv2.imwrite(str(target), np.zeros((32, 32), np.uint8))
    done = lineside("evaluate", bundle, "--data", root, "--json")
    assert "0_mask.png marks no pixel" in done.stderr
    assert json.loads(done.stdout.splitlines()[0])["n_masks"] == 5


def test_one_class_alone_gives_null_not_an_error(bundle, tmp_path):
    good_folder(tmp_path / "only/tile/test/good", GOOD)
    good_folder(tmp_path / "only/tile/train/good", [1])
    (row,) = rows_of(bundle, "--data", tmp_path / "only")
    assert row["image_auroc"] is None
    assert row["image_f1_max"] is None
    assert row["miss_rate_high"] is None
    assert row["n_good"] == 6


def test_unreadable_pictures_are_skipped_and_counted(bundle, root):
    (root / "tile/test/good/broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnot a picture")
    done = lineside("evaluate", bundle, "--data", root, "--json")
    row = json.loads(done.stdout)
    assert row["n_skipped"] == 1
    assert row["skipped"][0].endswith("broken.png")
    assert row["n_good"] == 6
    assert "broken.png" in done.stderr


def test_several_bundles_make_an_average_per_model(bundle, root, tmp_path):
    other = two_variant_bundle(tmp_path / "other", image_threshold=36.0)
    rows = rows_of(bundle, other, "--data", root)
    assert [row["category"] for row in rows] == ["tile", "tile", "average"]
    average = rows[-1]
    assert average["image_auroc"] == pytest.approx(
        (rows[0]["image_auroc"] + rows[1]["image_auroc"]) / 2
    )
    assert average["n_good"] == 12
    assert average["misses"] == rows[0]["misses"] + rows[1]["misses"] == 1
    assert average["false_rejects"] == 1


def test_pictures_that_training_has_learned_are_told(bundle, root):
    learned = [
        digest_of(load_image(root / "tile" / "test" / "good" / name, (32, 32)))
        for name in ("000.png", "001.png")
    ]
    with Bundle.open(bundle) as opened:
        manifest = opened.manifest
    assert manifest.input.size_hw == (32, 32)
    seal(
        bundle,
        dataclasses.replace(manifest, provenance={**manifest.provenance, TRAIN_DIGESTS: learned}),
    )
    done = lineside("evaluate", bundle, "--data", root, "--json")
    assert (
        "2 of 12 test pictures are among those that training or calibration has learnt"
        in done.stderr
    )
    row = json.loads(done.stdout)
    assert (row["n_learnt"], row["n_good"]) == (2, 6)


def test_average_skips_what_is_undefined_and_keeps_models_apart():
    blank = dict.fromkeys(
        (
            "n_good",
            "n_anomalous",
            "n_skipped",
            "n_learnt",
            "n_cannot_judge",
            "false_rejects",
            "misses",
            "best_misses",
        ),
        1,
    )
    rows = [
        {
            "model": model,
            "engine": "openvino",
            "precision": "fp32",
            "image_auroc": value,
            "image_f1_max": value,
            "pixel_auroc": None,
            "aupro": value,
            "aupro_05": value,
            **blank,
        }
        for model, value in (("a", 1.0), ("a", None), ("b", 0.5), ("a", 0.5))
    ]
    (average,) = averages(rows)
    assert average["model"] == "a"
    assert average["image_auroc"] == 0.75
    assert average["pixel_auroc"] is None
    assert average["n_bundles"] == 3


def test_the_table_for_people_holds_the_figures(bundle, root):
    done = lineside("evaluate", bundle, bundle, "--data", root)
    assert done.returncode == 0
    assert "image AUROC" in done.stdout
    assert "0.944" in done.stdout
    assert "average" in done.stdout
    assert "scratch" in done.stdout


def test_names_that_look_like_markup_are_shown_as_they_are(bundle, root):
    (root / "tile/test/dent").rename(root / "tile/test/[red] :skull:")
    done = lineside("evaluate", bundle, "--data", root)
    assert "[red] :skull:" in done.stdout


def test_category_is_the_bundles_own_then_the_root_itself(root):
    assert find_category(root, "tile", None).name == "tile"
    assert find_category(root / "tile", "something else", None).name == "tile"
    with pytest.raises(DataError, match="tile"):
        find_category(root, "something else", None)
    with pytest.raises(DataError, match="screw"):
        find_category(root, "tile", "screw")


def test_no_labeled_parts_say_how_to_arrange_them(bundle, tmp_path):
    plain = good_folder(tmp_path / "plain", GOOD)
    with (
        Inspector(Bundle.open(bundle)) as inspector,
        pytest.raises(DataError, match="test/good and test/<defect>"),
    ):
        evaluate(inspector, load_category(plain))


def test_nothing_readable_is_an_error(bundle, root):
    for path in (root / "tile/test").rglob("*.png"):
        path.write_bytes(b"")
    done = lineside("evaluate", bundle, "--data", root)
    assert done.returncode == 1
    assert "12 unreadable" in done.stderr


def test_a_variant_that_is_not_there_is_named(bundle, root):
    done = lineside("evaluate", bundle, "--data", root, "--precision", "int8")
    assert "openvino/fp16" in done.line()


def test_masks_of_another_size_are_brought_to_the_models(bundle, root):
    for path in (root / "tile/ground_truth").rglob("*.png"):
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(path), cv2.resize(mask, (128, 128), interpolation=cv2.INTER_NEAREST))
    big = rows_of(bundle, "--data", root)[0]
    assert big["n_masks"] == 6
    assert big["pixel_auroc"] > 0.9
