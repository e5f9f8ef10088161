"""Every good part is learned, and scored for the threshold by a bank that was built without it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.model_selection import LeaveOneOut as Splits
from sklearn.neighbors import NearestNeighbors

from calibration.learning import made_up
from calibration.learning.copies import Copies
from calibration.learning.coreset import covering_radius, select_coreset
from calibration.learning.evidence import load_images
from calibration.learning.leave_one_out import LeaveOneOut
from calibration.learning.made_up import METRIC, PICTURE_FILE
from calibration.learning.photographs import Photographs, read_photographs
from calibration.threshold_rules import first_threshold, peaks_of
from export.bundling import Trained, Work, write_bundle
from export.checkpoint import Checkpoint
from export.models.patchcore.model import LinesidePatchcore
from export.models.patchcore.recipe import PatchCoreRecipe
from export.training import train
from runtime.bundle.folder import Bundle
from runtime.bundle.manifest import DIGEST_LENGTH, LEFT_OUT_SCORES, TRAIN_DIGESTS
from runtime.bundle.reference import GOLDEN_FOLDER
from runtime.health.baseline import HEALTH_FILE, read_health
from runtime.images.dataset import Category, load_category
from runtime.images.preprocess import load_image
from tests.cli import QUICK, lineside

pytestmark = pytest.mark.slow

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
    known = patches[::-1].astype(np.float32)
    flat = known.reshape(-1, known.shape[2])
    chosen = select_coreset(flat, int(np.ceil(len(flat) * recipe.coreset_ratio)))
    model.model.memory_bank = torch.from_numpy(flat[chosen])
    model._learned = known, chosen, None
    model._paths = [str(path) for path in names(len(known))[::-1]]
    return model


def names(count: int) -> list[Path]:
    return [Path(f"{index}.png") for index in range(count)]


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


def test_with_every_patch_in_the_bank_a_score_is_the_distance_to_the_other_parts(
    patchcore: LinesidePatchcore,
):
    patches = np.random.default_rng(1).normal(size=(23, 16, 6)).astype(np.float32)
    found = learned(patchcore, PATCHES, patches).left_out(names(23))
    for others, (index,) in Splits().split(patches):
        search = NearestNeighbors(n_neighbors=1).fit(patches[others].reshape(-1, 6))
        distances = search.kneighbors(patches[index])[0].ravel()
        assert found.scores[index] == pytest.approx(np.sort(distances)[-4:].mean(), rel=1e-3)
        np.testing.assert_allclose(found.maps[index], distances.reshape(4, 4), rtol=1e-3, atol=1e-3)


def parts_with_traits(rng: np.random.Generator, count: int) -> npt.NDArray[np.float32]:
    """Parts whose patches are no independent draws: each part differs in a trait of its own."""
    own = rng.normal(size=(count, 64, 5)) + rng.standard_t(5, size=(count, 1, 5))
    return np.asarray(own, dtype=np.float32)


def test_a_mended_bank_covers_the_others_as_closely_as_the_whole_one_covers_all():
    patches = parts_with_traits(np.random.default_rng(3), 30)
    flat = patches.reshape(-1, 5)
    chosen = select_coreset(flat, 200)
    banks, radius = LeaveOneOut(patches, chosen), covering_radius(flat, chosen)
    for part in range(30):
        others = patches[np.arange(30) != part].reshape(-1, 5)
        bank = banks.bank(part)
        assert 180 <= len(bank) <= 210
        # Nothing of the part itself is left in it.
        assert not np.isin(bank[:, 0], patches[part, :, 0]).any()
        places = (others[:, None] == bank).all(axis=2).argmax(axis=0)
        assert covering_radius(others, places) <= radius * (1 + 1e-5)


def test_a_part_leaves_with_its_copies():
    """Against banks made of the other parts and their copies alone."""
    patches = np.random.default_rng(4).normal(size=(6, 16, 5)).astype(np.float32)
    # Copies equal their parts: with one left in, a part would be at no distance.
    copies = Copies(patches.reshape(-1, 5), np.repeat(np.arange(6), 16), 6)
    banks = LeaveOneOut(patches, np.arange(2 * 6 * 16), 1, copies)
    for others, (index,) in Splits().split(patches):
        bank = banks.bank(index)
        assert len(bank) == 2 * 5 * 16
        search = NearestNeighbors(n_neighbors=1).fit(patches[others].reshape(-1, 5))
        expected = search.kneighbors(patches[index])[0].ravel()
        found = NearestNeighbors(n_neighbors=1).fit(bank).kneighbors(patches[index])[0].ravel()
        assert expected.min() > 0
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_good_parts_are_rejected_about_as_often_as_promised():
    """With the fast banks, and against banks that are selected anew without each part."""
    rng, alpha, rates, anew = np.random.default_rng(2), 0.1, [], []

    def scores(
        parts: npt.NDArray[np.float32], bank: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float64]:
        distances = torch.cdist(torch.from_numpy(parts), torch.from_numpy(bank))
        return np.asarray(distances.amin(dim=2).amax(dim=1).numpy(), np.float64)

    for turn in range(40):
        known = parts_with_traits(rng, 40)
        flat = known.reshape(-1, 5)
        chosen = select_coreset(flat, 100, turn)
        banks = LeaveOneOut(known, chosen)
        new = scores(parts_with_traits(rng, 400), flat[chosen])
        fast = np.concatenate([scores(known[[one]], banks.bank(one)) for one in range(40)])
        threshold = first_threshold(fast, fast, alpha, left_out=True)
        assert threshold.method == "leave_one_out"
        rates.append(np.mean(new > threshold.image_threshold))
        if turn < 10:
            slow = []
            for one in range(40):
                others = known[np.arange(40) != one].reshape(-1, 5)
                slow.append(scores(known[[one]], others[select_coreset(others, 100, turn)])[0])
            reference = first_threshold(np.array(slow), np.array(slow), alpha, left_out=True)
            anew.append(threshold.image_threshold / reference.image_threshold)
    assert 0.6 * alpha < np.mean(rates) < 1.25 * alpha
    # A little cautious: the threshold is some percent higher.
    assert 0.98 < np.mean(anew) < 1.08


RECIPE = PatchCoreRecipe(
    max_prototypes=120, size_hw=(64, 64), score_blur=0.5, layers=("blocks.1", "blocks.2")
)


@pytest.fixture(scope="module")
def category(sample_root: Path) -> Category:
    return load_category(sample_root, "tile")


@pytest.fixture(scope="module")
def photographs(category: Category) -> Photographs:
    return read_photographs(category, RECIPE.size_hw, 0, hold_out=False)


@pytest.fixture(scope="module")
def trained(photographs: Photographs) -> Trained:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(made_up, "MADE_UP", 30)
        return train(RECIPE, photographs, 0)


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


def test_after_training_one_sentence_says_what_to_expect(sample_root: Path, tmp_path: Path) -> None:
    good = tmp_path / "good"
    shutil.copytree(sample_root / "tile" / "train" / "good", good)
    options = ("--size", 64, "--max-prototypes", 100, "--max-false-rejects", 0.1)
    out = tmp_path / "out"
    done = lineside("train", *QUICK, "--data", good, "--out", out, *options)
    assert done.returncode == 0, done.stderr
    assert "left out in turn for the threshold" in done.stderr
    assert "of 100 good parts about 10 will be stopped; of 100 made-up defects" in done.stderr
    with Bundle.open(out) as bundle:
        rates = bundle.manifest.metrics[METRIC]
        assert PICTURE_FILE in bundle.manifest.files
    assert list(rates) == ["weak", "medium", "strong"]
    # A defect that shows more strongly is found at least as often.
    assert rates["weak"] <= rates["medium"] <= rates["strong"]
    assert f"{100 * rates['strong']:.0f} strong" in done.stderr


def test_a_strong_defect_scores_higher_than_a_part_without_by_the_same_bank(
    trained: Trained,
) -> None:
    assert trained.left_out is not None
    assert trained.left_out.made_up.shape == (30, 3)
    weak, medium, strong = np.median(trained.left_out.made_up, axis=0)
    assert np.median(trained.left_out.scores) < strong
    assert weak <= medium <= strong
