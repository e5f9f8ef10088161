"""Parts that lie any way: turned copies are learned, in training as on the box."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.learning.copies import ANGLES, COPIES
from calibration.learning.photographs import Photographs
from export.bundling import Trained
from export.checkpoint import Checkpoint
from export.models import family_of
from export.models.patchcore.recipe import PatchCoreRecipe
from export.training import train

RECIPE = PatchCoreRecipe(size_hw=(96, 96), max_prototypes=400, coreset_ratio=0.5)
PARTS = 3


def lying(degrees: float) -> cv2.typing.MatLike:
    """A grooved disc on a plain ground."""
    side = 192
    rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
    angle = np.deg2rad(degrees)
    across = columns * np.cos(angle) - rows * np.sin(angle)
    along = columns * np.sin(angle) + rows * np.cos(angle)
    grooves = 128 + 70 * np.sin(across / 3) * (along > -20)
    disc = np.where(np.hypot(rows, columns) < 80, grooves, 230)
    return np.repeat(disc.astype(np.uint8)[..., None], 3, axis=2)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Photographs:
    folder = tmp_path_factory.mktemp("parts")
    paths = [folder / f"{place}.png" for place in range(PARTS + 1)]
    for path, degrees in zip(paths, (0, 3, 6, 100), strict=True):
        cv2.imwrite(str(path), lying(degrees))
    return Photographs(tuple(paths[:PARTS]), (paths[PARTS],), (), "")


@pytest.fixture(scope="module")
def known(photographs: Photographs) -> dict[str, Trained]:
    """With and without turned copies, each part left out in turn."""
    learned = replace(photographs, held_out=())
    return {
        "none": train(RECIPE, learned, 0),
        "rotate": train(replace(RECIPE, augment="rotate"), learned, 0),
    }


def test_a_part_that_lies_otherwise_looks_like_the_others(
    known: dict[str, Trained], photographs: Photographs
) -> None:
    from benchmarks.operating_point import scores

    (plain,), (turned,) = (
        scores(one.model, list(photographs.held_out), RECIPE) for one in known.values()
    )
    assert turned < 0.7 * plain


def test_the_bank_is_bounded_and_the_bundle_says_how_many_were_learned(
    known: dict[str, Trained], photographs: Photographs, tmp_path: Path
) -> None:
    trained, recipe = known["rotate"], replace(RECIPE, augment="rotate")
    family, copies = family_of("patchcore"), PARTS * (ANGLES - 1)
    assert len(trained.model.model.memory_bank) == RECIPE.max_prototypes
    assert family.provenance(trained.model) == {COPIES: copies}
    assert family.provenance(known["none"].model) == {}
    assert trained.left_out is not None
    assert (trained.left_out.scores > 0).all()
    # An export that was interrupted goes on with them.
    kept = Checkpoint(tmp_path / "out", recipe, photographs, 0)
    kept.save(trained)
    again = kept.load()
    assert again is not None
    assert family.provenance(again.model) == {COPIES: copies}
    assert Checkpoint(tmp_path / "out", RECIPE, photographs, 0).load() is None
