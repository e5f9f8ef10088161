"""Every good part is learned, and scored for the threshold by a bank that was built without it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from calibration.threshold_rules import first_threshold, peaks_of
from export.bundling import Trained, Work, write_bundle
from export.certificate import PAINTED, load_images
from export.checkpoint import Checkpoint
from export.data.photographs import Photographs, folds_of, read_photographs
from export.models.patchcore.model import LinesidePatchcore
from export.models.patchcore.recipe import PatchCoreRecipe
from export.training import tell_what_to_expect, train
from runtime.bundle.folder import Bundle
from runtime.bundle.manifest import DIGEST_LENGTH, LEFT_OUT_SCORES, TRAIN_DIGESTS
from runtime.bundle.reference import GOLDEN_FOLDER
from runtime.health.baseline import HEALTH_FILE, read_health
from runtime.images.dataset import Category, load_category
from runtime.images.preprocess import load_image
from tests.cli import lineside

KEYS = ("openvino/fp32", "onnxruntime/fp32")
# Of patches that are made up, 4 x 4 a picture.
PATCHES = PatchCoreRecipe(dimensions=0, score_blur=0.0, score_share=0.25, coreset_ratio=1.0)


@pytest.fixture(scope="module")
def patchcore() -> LinesidePatchcore:
    return LinesidePatchcore(PATCHES, 0).eval()


def learned(
    model: LinesidePatchcore, recipe: PatchCoreRecipe, patches: npt.NDArray[np.float64]
) -> LinesidePatchcore:
    """The model as if it had learned pictures with these patches (n, 16, D), in reversed order."""
    model.recipe, model.model.score_share = recipe, recipe.score_share
    model.model.grid_hw = (4, 4)
    known = torch.from_numpy(patches[::-1].copy()).float()
    count = int(np.ceil(known.shape[0] * known.shape[1] * recipe.coreset_ratio))
    model.model.memory_bank = model._bank(known.flatten(0, 1), count)
    model._patches_seen = known
    model._paths = [str(path) for path in names(len(known))[::-1]]
    return model


def names(count: int) -> list[Path]:
    return [Path(f"{index}.png") for index in range(count)]


def test_every_part_is_in_one_fold_and_few_parts_are_left_out_one_by_one():
    fold_of = folds_of(23, 5, 0)
    assert sorted(np.bincount(fold_of)) == [4, 4, 5, 5, 5]
    np.testing.assert_array_equal(fold_of, folds_of(23, 5, 0))
    assert (fold_of != folds_of(23, 5, 1)).any()
    assert sorted(folds_of(3, 5, 0)) == [0, 1, 2]


@pytest.mark.parametrize("share", [0.25, 0.0])
@pytest.mark.parametrize("count", [3, 17])
def test_a_part_like_no_other_is_scored_by_a_bank_without_it(
    patchcore: LinesidePatchcore, share: float, count: int
):
    patches = np.random.default_rng(0).normal(size=(count, 16, 4))
    patches[1] += 100.0
    model = learned(patchcore, replace(PATCHES, score_share=share), patches)
    whole = model.model.memory_bank
    found = model.left_out(names(count))
    assert found.scores.argmax() == 1
    assert found.scores[1] > 100
    assert np.delete(found.scores, 1).max() < 10
    assert (found.scores > 0).all()
    # The bank in use knows it.
    assert model.model.memory_bank is whole
    assert model.model.score(torch.from_numpy(patches[1]).float())[0] < 0.1


def test_scores_are_distances_to_the_nearest_patches_of_the_other_folds(
    patchcore: LinesidePatchcore,
):
    patches = np.random.default_rng(1).normal(size=(23, 16, 6)).astype(np.float32)
    found = learned(patchcore, PATCHES, patches).left_out(names(23))
    fold_of = folds_of(23, PATCHES.folds, 0)
    for index, part in enumerate(patches):
        others = patches[fold_of != fold_of[index]].reshape(-1, 6)
        distances = NearestNeighbors(n_neighbors=1).fit(others).kneighbors(part)[0].ravel()
        assert found.scores[index] == pytest.approx(np.sort(distances)[-4:].mean(), rel=1e-3)
        np.testing.assert_allclose(found.maps[index], distances.reshape(4, 4), rtol=1e-3, atol=1e-3)


def test_good_parts_are_rejected_about_as_often_as_promised():
    """Of parts that differ in a trait of their own, whose patches are no independent draws."""
    rng, alpha, rates = np.random.default_rng(2), 0.1, []

    def parts(count: int) -> npt.NDArray[np.float64]:
        return np.asarray(rng.normal(size=(count, 4, 2)) + rng.standard_t(5, size=(count, 1, 2)))

    def distances(ours: npt.NDArray[np.float64], bank: npt.NDArray[np.float64]) -> Any:
        """Each patch's distance from the nearest one of each part in the bank, (n, 4, m)."""
        return np.linalg.norm(ours[:, :, None, None] - bank, axis=-1).min(axis=-1)

    for _ in range(150):
        known, fold_of = parts(40), folds_of(40, 5, int(rng.integers(2**31)))
        away = distances(known, known)
        away[np.broadcast_to((fold_of[:, None] == fold_of)[:, None], away.shape)] = np.inf
        left_out = away.min(axis=2).max(axis=1)
        threshold = first_threshold(left_out, left_out, alpha, left_out=True)
        assert threshold.method == "cross_conformal"
        new = distances(parts(60), known).min(axis=2).max(axis=1)
        rates.append(np.mean(new > threshold.image_threshold))
    # 2 alpha is what is proven.
    assert 0.5 * alpha < np.mean(rates) < 1.3 * alpha


RECIPE = PatchCoreRecipe(max_prototypes=120, size_hw=(64, 64), score_blur=0.5)


@pytest.fixture(scope="module")
def category(sample_root: Path) -> Category:
    return load_category(sample_root, "tile")


@pytest.fixture(scope="module")
def photographs(category: Category) -> Photographs:
    return read_photographs(category, RECIPE.size_hw, 0, hold_out=False)


@pytest.fixture(scope="module")
def trained(photographs: Photographs) -> Trained:
    return train(RECIPE, photographs, 0)


@pytest.mark.slow
def test_all_parts_are_learned_and_scored(trained: Trained, photographs: Photographs) -> None:
    assert (set(photographs.train), photographs.held_out) == ({*photographs.train}, ())
    assert len(trained.model.model.memory_bank) == RECIPE.max_prototypes
    assert trained.left_out is not None
    assert len(trained.left_out.scores) == len(trained.left_out.maps) == len(photographs.train)
    live = [
        float(trained.model(torch.from_numpy(image).permute(2, 0, 1)[None] / 255.0).pred_score)
        for image in load_images(photographs.train, RECIPE.size_hw)
    ]
    # What a model has learned it scores lower.
    assert np.median(live) < np.median(trained.left_out.scores)


@pytest.mark.slow
def test_the_bundle_keeps_the_left_out_scores_and_calibrates_with_them(
    trained: Trained, category: Category, photographs: Photographs, tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    kept = Checkpoint(out, RECIPE, photographs, 0)
    kept.save(trained)
    again = kept.load()
    assert again is not None
    assert trained.left_out is not None
    scores = trained.left_out.scores
    peaks = peaks_of(trained.left_out.maps, RECIPE.size_hw, 4.0)
    expected = first_threshold(scores, peaks, 0.1, left_out=True)
    write_bundle(Work(RECIPE, category, photographs, again, 0, 0.1), out, "tile")
    with Bundle.open(out) as bundle:
        for parity in bundle.manifest.certificate["variants"].values():
            assert parity["holds"]
        for key in KEYS:
            found = bundle.thresholds().of(key)
            assert found.image_threshold == pytest.approx(expected.image_threshold)
            assert found.pixel_threshold == pytest.approx(expected.pixel_threshold)
            assert "each scored by a model that had not seen it" in found.note
        provenance = bundle.manifest.provenance
        digests = [one[:DIGEST_LENGTH] for one in photographs.train_digests]
        assert provenance[TRAIN_DIGESTS] == digests
        rows = [provenance[LEFT_OUT_SCORES][digest] for digest in digests]
        np.testing.assert_allclose(rows, np.stack([scores, peaks], axis=1), atol=1e-6)
        health = read_health(out / HEALTH_FILE)
        # Other models' scores would make every later part look as if it had drifted.
        assert health.scores == {}
        assert set(health.score_limits) == set(KEYS)
    rate = ("--max-false-rejects", 0.1, "--on-average", "--json")
    done = lineside("calibrate", out, "--good", category.train_good[0].parent, *rate)
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        row = json.loads(line)
        assert row["image_threshold"] == pytest.approx(expected.image_threshold, abs=1e-5)
        assert row["n_left_out_scores"] == row["n_good"] == len(photographs.train)
    assert read_health(out / HEALTH_FILE).scores == {}


@pytest.mark.slow
def test_learned_parts_prove_nothing_as_they_are(
    trained: Trained, category: Category, photographs: Photographs, tmp_path: Path
) -> None:
    """Without test parts there are learned ones only, whose patches lie on prototypes."""
    alone = replace(category, test=())
    write_bundle(Work(RECIPE, alone, photographs, trained, 0), tmp_path / "bundle", "tile")
    with Bundle.open(tmp_path / "bundle") as bundle:
        for parity in bundle.manifest.certificate["variants"].values():
            assert parity["p99_map_difference"] < 1e-4
        shown = load_image(tmp_path / "bundle" / GOLDEN_FOLDER / "0.png", RECIPE.size_hw)
    originals = load_images(category.train_good, RECIPE.size_hw)
    assert any(np.array_equal(shown[:, ::-1], original) for original in originals)
    assert not any(np.array_equal(shown, original) for original in originals)


@pytest.mark.slow
def test_after_training_one_sentence_says_what_to_expect(sample_root: Path, tmp_path: Path) -> None:
    good = tmp_path / "good"
    shutil.copytree(sample_root / "tile" / "train" / "good", good)
    options = ("--size", 64, "--max-prototypes", 100, "--max-false-rejects", 0.1)
    out = tmp_path / "out"
    done = lineside("train", "--model", "patchcore", "--data", good, "--out", out, *options)
    assert done.returncode == 0, done.stderr
    assert "left out in turn for the threshold" in done.stderr
    assert "of 100 good parts about 10 will be stopped; of 100 made-up faint" in done.stderr


@pytest.mark.parametrize(
    ("threshold", "share", "warned"), [(0.5, 1.0, False), (2.0, 0.5, False), (3.0, 0.25, True)]
)
def test_what_to_expect_counts_the_defects_above_the_threshold(
    threshold: float, share: float, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "lineside")
    assert tell_what_to_expect(np.array([1.0, 2.0, 3.0, 4.0]), threshold, 0.05) == share
    assert f"of 100 made-up faint defects about {100 * share:.0f} are found" in caplog.text
    assert ("WARNING" in caplog.text) == warned


def test_without_a_defect_nothing_is_said_of_them(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "lineside")
    assert np.isnan(tell_what_to_expect(np.empty(0), 1.0, 0.05))
    assert "defects" not in caplog.text


@pytest.mark.slow
def test_a_part_with_a_defect_scores_higher_than_without_by_the_same_bank(
    trained: Trained,
) -> None:
    assert trained.left_out is not None
    assert len(trained.left_out.painted) >= PAINTED
    assert np.median(trained.left_out.painted) > np.median(trained.left_out.scores)
