"""A bundle with the network and nothing learned, for a box that is taught its parts.

It is trained like any other, on a few drawn pictures of every procedural part, for two reasons:
the certificate says that the box's graph computes what torch computes, and the golden pictures
prove it on the box before a part is taught. Then all that says what a part looks like is taken
away: thresholds, the check of pictures, what was learned. Without a threshold no release of
Lineside judges with it. The small bank stays, for a graph needs one; teaching puts another in.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from calibration.learning.made_up import METRIC, PICTURE_FILE
from calibration.learning.photographs import read_photographs
from export.models import families, family_of
from export.models.settings import Recipe
from export.sample_data import CATEGORIES, render_part
from export.training import require_writable, train
from runtime import atomic
from runtime.bundle.folder import MANIFEST_FILE, seal
from runtime.bundle.manifest import BLANK, LEFT_OUT_SCORES, TRAIN_DIGESTS, Manifest
from runtime.bundle.thresholds import THRESHOLDS_FILE, Thresholds, write_thresholds
from runtime.errors import TrainingError
from runtime.health.baseline import HEALTH_FILE
from runtime.images.dataset import load_category

# Of every procedural part.
PICTURES = 8
_SIZE = 256
_OF_PARTS = (TRAIN_DIGESTS, LEFT_OUT_SCORES, "data_fingerprint", "train_images", "held_out_images")


def blank_bundle(recipe: Recipe, out: Path, name: str | None = None, seed: int = 0) -> Manifest:
    """Make a bundle that has learned no part.

    Args:
        recipe: the parts that are taught later are taught by it.
        out: bundle folder; it appears when all of it is proven.
        name: the bundle's name; None for ``blank-MODEL``.
        seed: of the drawn pictures, and of everything random.

    Returns:
        The manifest as written.

    Raises:
        TrainingError: a model that cannot be taught, or something else than a bundle at ``out``.
        ParityError: the exported model differs from anomalib's; no bundle was written.
        KeyboardInterrupt: interrupted; nothing half-written is left behind.
    """
    small = family_of(recipe.model).blank(recipe)
    if small is None:
        able = ", ".join(one.name for one in families() if one.blank(one.recipe()) is not None)
        raise TrainingError(
            f"--blank: expected {able}, which learns a part without training, found "
            f"{recipe.model}; train it on the part with --data DIR"
        )
    require_writable(out)
    # torch takes seconds to import: what is wrong with the settings is said before.
    from export.bundling import Work, write_bundle

    with tempfile.TemporaryDirectory(prefix="lineside-blank-") as folder:
        trained = Path(folder) / "bundle"
        parts = load_category(_drawn(Path(folder) / BLANK, seed))
        photographs = read_photographs(parts, recipe.size_hw, seed, hold_out=False)
        work = Work(small, parts, photographs, train(small, photographs, seed), seed)
        manifest = write_bundle(work, trained, name or f"{BLANK}-{recipe.model}")
        with atomic.folder(out) as root:
            shutil.copytree(trained, root, dirs_exist_ok=True)
            for file in (MANIFEST_FILE, HEALTH_FILE, PICTURE_FILE):
                (root / file).unlink(missing_ok=True)
            write_thresholds(root / THRESHOLDS_FILE, Thresholds({}))
            provenance = manifest.provenance.items()
            return seal(
                root,
                replace(
                    manifest,
                    category=BLANK,
                    recipe={**manifest.recipe, **recipe.to_json(), BLANK: True},
                    provenance={key: value for key, value in provenance if key not in _OF_PARTS},
                    metrics={
                        key: value for key, value in manifest.metrics.items() if key != METRIC
                    },
                ),
            )


def _drawn(folder: Path, seed: int) -> Path:
    folder.mkdir()
    for number, rng in enumerate(np.random.default_rng(seed).spawn(PICTURES * len(CATEGORIES))):
        category = CATEGORIES[number % len(CATEGORIES)]
        picture, _ = render_part(category, None, rng, _SIZE)
        cv2.imwrite(str(folder / f"{number:02}-{category}.png"), picture[:, :, ::-1])
    return folder
