"""How EfficientAD's map is read: the weights of its two branches and its smoothing, decided without bad parts.

anomalib adds the student's and the autoencoder's map with equal weights, which is right once both
are trained to the end. After a short schedule the autoencoder may still be little better than
noise, and then it hides what the student sees. The score is the map's maximum, which one noisy
patch can set; PatchCore's map is smoothed in anomalib, EfficientAD's is not. So both settings are
tried on synthetic defects: Perlin-shaped patches of other pictures blended into good parts
(Zavrtanik et al., DRAEM, ICCV 2021; anomalib's generator). The weights are written into the map
quantiles and the smoothing into the model, so anomalib's own model, the reference of the
certificate, predicts with them too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from anomalib.data.utils.generators.perlin import PerlinAnomalyGenerator
from anomalib.models.image.efficient_ad.torch_model import EfficientAdModel
from sklearn.metrics import roc_auc_score

from export.recipe import MIN_EFFICIENTAD_SIDE
from runtime.images.heatmap import upsample_map
from runtime.images.preprocess import load_image
from runtime.progress import track
from runtime.types import Float32Map

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


@dataclass(frozen=True)
class DefectKind:
    """Synthetic defects of one kind: how strongly they show, and the window's side as a share of the picture's."""

    blend: tuple[float, float]
    side: tuple[float, float]


# What is easy to see separates nothing: every setting finds it. These two kinds are faint or small.
KINDS = (DefectKind((0.10, 0.35), (0.10, 0.30)), DefectKind((0.15, 0.60), (0.08, 0.20)))


def choose_reading(
    model: EfficientAdModel,
    parts: Sequence[Path],
    size_hw: tuple[int, int],
    scenes: Path,
    shares: Sequence[float] = STUDENT_SHARES,
) -> MapReading:
    """The reading that separates good parts from synthetic defects best.

    Args:
        model: fitted, with its map quantiles set, in eval mode, read as in the paper.
        parts: good parts that training did not see; the more, the better the choice.
        size_hw: model input size.
        scenes: folder of folders of pictures that the synthetic defects are made of.
        shares: of the student, to choose from; the first one wins ties.
    """
    parts = parts[:MAX_PARTS]
    each = min(max(1, -(-MIN_DEFECTS // (len(parts) * len(KINDS)))), MAX_DEFECTS_A_PART)
    generators = [
        PerlinAnomalyGenerator(scenes, probability=1.0, blend_factor=kind.blend) for kind in KINDS
    ]
    good: list[BranchMaps] = []
    bad: list[BranchMaps] = []
    for path in track(parts, "efficientad: reading the map"):
        image = torch.from_numpy(load_image(path, size_hw)).permute(2, 0, 1).float() / 255.0
        good.append(_branch_maps(model, image))
        for generator, kind in zip(generators, KINDS, strict=True):
            bad.extend(_branch_maps(model, spoil(generator, image, kind.side)) for _ in range(each))
    unit = min(size_hw) / MIN_EFFICIENTAD_SIDE
    readings = [MapReading(share, sigma * unit) for sigma in BLUR_SIGMAS for share in shares]
    separation = {reading: _auroc(good, bad, reading) for reading in readings}
    best = max(readings, key=lambda reading: separation[reading])
    return best if separation[best] > separation[readings[0]] + MARGIN else readings[0]


def _auroc(good: Sequence[BranchMaps], bad: Sequence[BranchMaps], reading: MapReading) -> float:
    labels = np.repeat([0, 1], [len(good), len(bad)])
    return float(roc_auc_score(labels, [_score(maps, reading) for maps in (*good, *bad)]))


def _score(maps: BranchMaps, reading: MapReading) -> float:
    share = reading.student_share
    combined = np.asarray(share * maps[0] + (1 - share) * maps[1], dtype=np.float32)
    return float(
        upsample_map(combined, (combined.shape[0], combined.shape[1]), reading.blur_sigma).max()
    )


def _branch_maps(model: EfficientAdModel, image: torch.Tensor) -> BranchMaps:
    with torch.no_grad():
        student, autoencoder = model.get_maps(image[None], normalize=True)
    return student[0, 0].numpy(), autoencoder[0, 0].numpy()


def spoil(
    generator: PerlinAnomalyGenerator, image: torch.Tensor, sides: tuple[float, float]
) -> torch.Tensor:
    """A synthetic defect in a window of the picture, since real defects are small.

    Args:
        generator: anomalib's, with its pictures and its blend.
        image: float32 (3, H, W) in [0, 1].
        sides: smallest and largest side of the window as a share of the picture's.
    """
    spoiled, mask = generator(image)
    height, width = image.shape[-2:]
    side = sides[0] + (sides[1] - sides[0]) * float(torch.rand(()))
    rows, columns = int(height * side), int(width * side)
    # Around a spoiled pixel, so that there is something to see.
    marked = mask.reshape(height, width).nonzero()
    row, column = (
        marked[int(torch.randint(0, len(marked), ()))].tolist()
        if len(marked)
        else (height // 2, width // 2)
    )
    top = min(max(row - rows // 2, 0), height - rows)
    left = min(max(column - columns // 2, 0), width - columns)
    result = image.clone()
    window = (slice(None), slice(top, top + rows), slice(left, left + columns))
    result[window] = spoiled[window]
    return result
