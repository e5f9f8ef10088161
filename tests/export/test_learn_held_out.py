"""Held-out parts that are learned once they have set the threshold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from calibration.threshold_rules import first_threshold
from export.bundling import Trained, Work, write_bundle
from export.certificate import ReferenceModel, Scored, load_images, score_reference
from export.checkpoint import Checkpoint
from export.data.photographs import Photographs, read_photographs
from export.models.patchcore.recipe import PatchCoreRecipe
from export.training import train
from runtime.bundle.folder import Bundle
from runtime.bundle.golden import GOLDEN_FOLDER
from runtime.bundle.manifest import DIGEST_LENGTH, TRAIN_DIGESTS
from runtime.health.baseline import HEALTH_FILE, read_health
from runtime.images.dataset import Category, load_category
from runtime.images.preprocess import load_image
from runtime.types import UInt8Image
from tests.cli import lineside

pytestmark = pytest.mark.slow
RECIPE = PatchCoreRecipe(max_prototypes=120, size_hw=(64, 64), score_blur=0.5, learn_held_out=True)


@pytest.fixture(scope="module")
def category(sample_root: Path) -> Category:
    return load_category(sample_root, "tile")


@pytest.fixture(scope="module")
def photographs(category: Category) -> Photographs:
    return read_photographs(category, RECIPE.size_hw, 0)


@pytest.fixture(scope="module")
def learned(photographs: Photographs) -> Trained:
    return train(RECIPE, photographs, 0)


@pytest.fixture(scope="module")
def before(photographs: Photographs) -> Trained:
    """The same training without them, with their share of the prototypes left out."""
    known = len(photographs.train)
    count = -(-RECIPE.max_prototypes * known // (known + len(photographs.held_out)))
    return train(replace(RECIPE, learn_held_out=False, max_prototypes=count), photographs, 0)


def scored(trained: Trained, images: list[UInt8Image]) -> Scored:
    smoothing = trained.model.model.anomaly_map_generator
    return score_reference(ReferenceModel(trained.model, smoothing), images, "test")


def test_prototypes_come_to_those_that_are_there(learned: Trained, before: Trained) -> None:
    bank, first = learned.model.model.memory_bank, before.model.model.memory_bank
    assert len(first) < len(bank) == RECIPE.max_prototypes
    assert torch.equal(bank[: len(first)], first)
    assert before.unseen is None


def test_the_threshold_is_from_before_and_no_score_rises(
    learned: Trained, before: Trained, photographs: Photographs, category: Category
) -> None:
    held_out = load_images(photographs.held_out, RECIPE.size_hw)
    reference = scored(before, held_out)
    assert learned.unseen is not None
    np.testing.assert_allclose(learned.unseen.scores, reference.scores, rtol=1e-5)
    np.testing.assert_allclose(learned.unseen.maps, reference.maps, rtol=1e-4, atol=1e-4)
    images = [*held_out, *load_images([part.path for part in category.test], RECIPE.size_hw)]
    now = scored(learned, images).scores
    then = scored(before, images).scores
    assert (now <= then * (1 + 1e-5)).all()
    # It is for parts like the held-out ones that more is known.
    assert (now < 0.999 * then)[: len(held_out)].any()


def test_the_bundle_promises_what_was_found_before_and_knows_what_was_learned(
    learned: Trained, category: Category, photographs: Photographs, tmp_path: Path
) -> None:
    kept = Checkpoint(tmp_path / "bundle", RECIPE, photographs, 0)
    kept.save(learned)
    again = kept.load()
    assert again is not None
    assert learned.unseen is not None
    expected = first_threshold(learned.unseen.scores, learned.unseen.maps, RECIPE.size_hw, 4.0)
    write_bundle(Work(RECIPE, category, photographs, again, 0), tmp_path / "bundle", "tile")
    with Bundle.open(tmp_path / "bundle") as bundle:
        for parity in bundle.manifest.certificate["variants"].values():
            assert parity["holds"]
        for key in ("openvino/fp32", "onnxruntime/fp32"):
            found = bundle.thresholds().of(key)
            assert found.image_threshold == pytest.approx(expected.image_threshold)
            assert found.pixel_threshold == pytest.approx(expected.pixel_threshold)
        learned = {*photographs.train_digests, *photographs.held_out_digests}
        assert set(bundle.manifest.provenance[TRAIN_DIGESTS]) == {
            one[:DIGEST_LENGTH] for one in learned
        }
        assert bundle.manifest.recipe["learn_held_out"] is True
        health = read_health(tmp_path / "bundle" / HEALTH_FILE)
        # Scores from before would make every later part look as if it had drifted.
        assert health.scores == {}
        assert set(health.score_limits) == {"openvino/fp32", "onnxruntime/fp32"}
    # Nothing of that folder is left to set a threshold with.
    done = lineside("calibrate", tmp_path / "bundle", "--good", category.train_good[0].parent)
    assert done.returncode != 0
    assert "pictures that training has not seen" in done.stderr


def test_learned_parts_prove_nothing_as_they_are(
    learned: Trained, category: Category, photographs: Photographs, tmp_path: Path
) -> None:
    """Without test parts there are learned ones only, whose patches lie on prototypes."""
    alone = replace(category, test=())
    write_bundle(Work(RECIPE, alone, photographs, learned, 0), tmp_path / "bundle", "tile")
    with Bundle.open(tmp_path / "bundle") as bundle:
        for parity in bundle.manifest.certificate["variants"].values():
            assert parity["p99_map_difference"] < 1e-4
        shown = load_image(tmp_path / "bundle" / GOLDEN_FOLDER / "0.png", RECIPE.size_hw)
    originals = load_images(category.train_good, RECIPE.size_hw)
    assert any(np.array_equal(shown[:, ::-1], original) for original in originals)
    assert not any(np.array_equal(shown, original) for original in originals)
