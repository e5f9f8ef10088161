"""How EfficientAD's map is read: weights of two branches and smoothing, without bad parts.

anomalib adds the student's and the autoencoder's map with equal weights, which is right once both
are trained to the end. After a short schedule the autoencoder may still be little better than
noise, and then it hides what the student sees. The score is the map's maximum, which one noisy
patch can set; PatchCore's map is smoothed in anomalib, EfficientAD's is not. So both settings are
tried on synthetic defects, faint and small ones. The weights are written into the map quantiles and
the smoothing into the model, so anomalib's own model, the reference of the certificate, predicts
with them too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from anomalib.models.image.efficient_ad.torch_model import EfficientAdModel

from calibration.metrics import image_auroc
from calibration.synthetic import FAINT_KINDS, paint
from export.anomalib_engine import to_batch
from export.models.efficientad.recipe import MIN_SIDE
from export.sample_data.scenes import random_scene
from runtime.images.heatmap import upsample_map
from runtime.images.preprocess import load_image
from runtime.progress import track
from runtime.types import Float32Map, UInt8Image

# Share of the student; the rest is the autoencoder's. The paper's equal weights come first and win
# ties.
STUDENT_SHARES = (0.5, 0.65, 0.8, 0.9, 1.0)
# Deviation of the smoothing in pixels at 256 pixels a side; none, as in the paper, comes first and
# wins ties.
BLUR_SIGMAS = (0.0, 4.0, 8.0)
MAX_PARTS = 24
MIN_DEFECTS = 72
# More of a kind on one part say little that is new.
MAX_DEFECTS_A_PART = 4
# Other settings must beat the paper's by this much on synthetic defects before they are believed.
MARGIN = 0.005

# The student's and the autoencoder's normalised map, float32 (H, W) each.
BranchMaps = tuple[Float32Map, Float32Map]


@dataclass(frozen=True)
class MapReading:
    """How the map is read.

    Attributes:
        student_share: weight of the student's branch, the rest is the autoencoder's.
        blur_sigma: deviation of the Gaussian in input pixels; 0 for none.
    """

    student_share: float = STUDENT_SHARES[0]
    blur_sigma: float = BLUR_SIGMAS[0]


def choose_reading(
    model: EfficientAdModel,
    parts: Sequence[Path],
    size_hw: tuple[int, int],
    seed: int,
    shares: Sequence[float] = STUDENT_SHARES,
) -> MapReading:
    """The reading that separates good parts from synthetic defects best.

    Args:
        model: fitted, with its map quantiles set, in eval mode, read as in the paper.
        parts: good parts that training did not see; the more, the better the choice.
        size_hw: model input size.
        seed: of the defects.
        shares: of the student, to choose from; the first one wins ties.
    """
    parts, rng = parts[:MAX_PARTS], np.random.default_rng(seed)
    each = min(max(1, -(-MIN_DEFECTS // (len(parts) * len(FAINT_KINDS)))), MAX_DEFECTS_A_PART)
    good: list[BranchMaps] = []
    bad: list[BranchMaps] = []
    for path in track(parts, "efficientad: reading the map"):
        image = load_image(path, size_hw)
        good.append(_branch_maps(model, image))
        for kind in FAINT_KINDS * each:
            # What a part is made of hides in it: defects are of something else.
            spoiled, _ = paint(image, kind, rng, random_scene(rng, max(size_hw)))
            bad.append(_branch_maps(model, spoiled))
    unit = min(size_hw) / MIN_SIDE
    readings = [MapReading(share, sigma * unit) for sigma in BLUR_SIGMAS for share in shares]
    separation = {reading: _auroc(good, bad, reading) for reading in readings}
    best = max(readings, key=lambda reading: separation[reading])
    return best if separation[best] > separation[readings[0]] + MARGIN else readings[0]


def _auroc(good: Sequence[BranchMaps], bad: Sequence[BranchMaps], reading: MapReading) -> float:
    labels = np.repeat([False, True], [len(good), len(bad)])
    return image_auroc(labels, [_score(maps, reading) for maps in (*good, *bad)])


def _score(maps: BranchMaps, reading: MapReading) -> float:
    share = reading.student_share
    combined = np.asarray(share * maps[0] + (1 - share) * maps[1], dtype=np.float32)
    return float(upsample_map(combined, combined.shape, reading.blur_sigma).max())


def _branch_maps(model: EfficientAdModel, image_rgb: UInt8Image) -> BranchMaps:
    with torch.no_grad():
        student, autoencoder = model.get_maps(to_batch(image_rgb), normalize=True)
    return student[0, 0].numpy(), autoencoder[0, 0].numpy()
