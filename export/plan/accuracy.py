"""What accuracy is measured on: labelled test parts where there are both kinds, synthetic defects otherwise.

Synthetic defects are Perlin-shaped patches of other pictures blended into good parts that training
did not see (Zavrtanik et al., DRAEM, ICCV 2021; anomalib's generator). They rank variants; what
they say of real defects is little.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import lightning
import numpy as np
import torch
from anomalib.data.utils.generators.perlin import PerlinAnomalyGenerator
from sklearn.metrics import roc_auc_score

from export.map_tuning import KINDS, spoil
from export.sample_data.distractors import write_scenes
from runtime.errors import DataError, ImageError
from runtime.images.dataset import Category
from runtime.images.preprocess import load_image
from runtime.inspector import Inspector, Source
from runtime.progress import track
from runtime.types import UInt8Image

log = logging.getLogger("lineside")

AccuracyOn = Literal["labelled", "synthetic"]
# Good parts that defects are drawn on, and defects in all, whatever the number of parts.
MAX_GOOD = 40
MIN_DEFECTS = 120
_SCENES = 60


@dataclass(frozen=True)
class Exam:
    """Parts with labels.

    Attributes:
        on: where they come from.
        good: pictures of good parts.
        anomalous: pictures of defective ones.
    """

    on: AccuracyOn
    good: Sequence[Source]
    anomalous: Sequence[Source]

    @property
    def title(self) -> str:
        """For people."""
        what = (
            "labelled test parts"
            if self.on == "labelled"
            else "synthetic defects on held-out good parts"
        )
        return f"{what} ({len(self.good)} good, {len(self.anomalous)} anomalous)"


def make_exam(
    category: Category, held_out: Sequence[Path], side: int, seed: int, wanted: AccuracyOn | None
) -> Exam:
    """Labelled test parts if there are good and anomalous ones, else synthetic defects.

    Args:
        category: the data set.
        held_out: good parts that training does not see.
        side: height and width at which defects are drawn; each variant sees the same ones, resized.
        seed: of the defects.
        wanted: insist on one kind; None takes what there is.
    """
    good = [part.path for part in category.test if not part.is_anomalous]
    anomalous = [part.path for part in category.test if part.is_anomalous]
    if wanted != "synthetic" and good and anomalous:
        return Exam("labelled", good, anomalous)
    if wanted == "labelled":
        log.info(
            "--accuracy-on labelled: there are no labelled good and anomalous test parts; "
            "synthetic defects instead"
        )
    parts = [load_image(path, (side, side)) for path in held_out[:MAX_GOOD]]
    return Exam("synthetic", parts, draw_defects(parts, seed))


def draw_defects(parts: Sequence[UInt8Image], seed: int) -> list[UInt8Image]:
    """Faint and small synthetic defects, several on each part.

    Args:
        parts: uint8 (H, W, 3), RGB, all of one size.
        seed: the same seed, the same defects.
    """
    lightning.seed_everything(seed, verbose=False)
    each = max(1, -(-MIN_DEFECTS // (len(parts) * len(KINDS))))
    spoiled = []
    with tempfile.TemporaryDirectory(prefix="lineside-plan-") as folder:
        scenes = Path(folder) / "scenes"
        write_scenes(scenes, _SCENES, seed, parts[0].shape[0])
        for kind in KINDS:
            generator = PerlinAnomalyGenerator(scenes, probability=1.0, blend_factor=kind.blend)
            for part in track(parts, "synthetic defects"):
                image = torch.from_numpy(part).permute(2, 0, 1).float() / 255.0
                spoiled += [_to_uint8(spoil(generator, image, kind.side)) for _ in range(each)]
    return spoiled


def image_auroc(inspector: Inspector, exam: Exam) -> float:
    """Image AUROC of raw scores; pictures that cannot be read are left out."""
    labels: list[int] = []
    scores: list[float] = []
    for source, label in track(
        [(s, 0) for s in exam.good] + [(s, 1) for s in exam.anomalous], "accuracy"
    ):
        try:
            scores.append(inspector.inspect(source).pred_score)
        except ImageError as error:
            log.warning(f"skipped: {error}")
            continue
        labels.append(label)
    if len(set(labels)) < 2:
        raise DataError(
            "plan: expected readable good and anomalous pictures to compare candidates on, found "
            f"{labels.count(0)} good and "
            f"{labels.count(1)} anomalous ones; mend the pictures named above, or use "
            "--accuracy-on synthetic"
        )
    return float(roc_auc_score(labels, scores))


def _to_uint8(image: torch.Tensor) -> UInt8Image:
    scaled = (image.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8)
    return np.ascontiguousarray(scaled.permute(1, 2, 0).numpy())
