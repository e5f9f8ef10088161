"""How much EfficientAD's two branches count, decided without bad parts.

anomalib adds the student's and the autoencoder's map with equal weights, which is right once both are trained to the end.
After a short schedule the autoencoder may still be little better than noise, and then it hides what the student sees.
So both branches are tried on synthetic defects: Perlin-shaped patches of other pictures blended into good parts
(Zavrtanik et al., DRAEM, ICCV 2021; anomalib's generator). The weights are written into the map quantiles, so
anomalib's own model, the reference of the certificate, predicts with them too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from anomalib.data.utils.generators.perlin import PerlinAnomalyGenerator
from anomalib.models.image.efficient_ad.torch_model import EfficientAdModel
from sklearn.metrics import roc_auc_score

from runtime.preprocess import load_image

# Share of the student; the rest is the autoencoder's. The paper's equal weights come first and win ties.
STUDENT_SHARES = (0.5, 0.65, 0.8, 0.9, 1.0)
MAX_PARTS = 24
DEFECTS_PER_PART = 3
# A share must beat the paper's by this much on synthetic defects before it is believed.
MARGIN = 0.005

# The student's and the autoencoder's normalised map, float32 (H, W) each.
BranchMaps = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]


def choose_student_share(
    model: EfficientAdModel, parts: Sequence[Path], size_hw: tuple[int, int], scenes: Path
) -> float:
    """Share of the student branch that separates good parts from synthetic defects best.

    Args:
        model: fitted, with its map quantiles set, in eval mode.
        parts: good parts that training did not see; the more, the better the choice.
        size_hw: model input size.
        scenes: folder of folders of pictures that the synthetic defects are made of.

    Returns:
        One of :data:`STUDENT_SHARES`.
    """
    generator = PerlinAnomalyGenerator(scenes, probability=1.0, blend_factor=(0.15, 0.6))
    good: list[BranchMaps] = []
    bad: list[BranchMaps] = []
    for path in parts[:MAX_PARTS]:
        image = torch.from_numpy(load_image(path, size_hw)).permute(2, 0, 1).float() / 255.0
        good.append(_branch_maps(model, image))
        bad.extend(_branch_maps(model, _spoil(generator, image)) for _ in range(DEFECTS_PER_PART))
    labels = np.repeat([0, 1], [len(good), len(bad)])
    scores = {
        share: float(
            roc_auc_score(labels, [float((share * st + (1 - share) * ae).max()) for st, ae in [*good, *bad]])
        )
        for share in STUDENT_SHARES
    }
    best = max(STUDENT_SHARES, key=lambda share: scores[share])
    return best if scores[best] > scores[STUDENT_SHARES[0]] + MARGIN else STUDENT_SHARES[0]


def apply_student_share(model: EfficientAdModel, share: float) -> None:
    """Write the weights into the quantiles: anomalib's 0.5 * (map - qa) / (qb - qa) becomes share * (map - qa) / range."""
    quantiles = model.quantiles
    # The smallest share keeps the range finite where the autoencoder is switched off.
    for branch, weight in (("st", share), ("ae", max(1.0 - share, 1e-6))):
        low, high = quantiles[f"qa_{branch}"], quantiles[f"qb_{branch}"]
        quantiles[f"qb_{branch}"] = low + (high - low) * (0.5 / weight)


def _branch_maps(model: EfficientAdModel, image: torch.Tensor) -> BranchMaps:
    with torch.no_grad():
        student, autoencoder = model.get_maps(image[None], normalize=True)
    return student[0, 0].numpy(), autoencoder[0, 0].numpy()


def _spoil(generator: PerlinAnomalyGenerator, image: torch.Tensor) -> torch.Tensor:
    """A synthetic defect in a window of a quarter to a half of the picture's side, since real defects are small."""
    spoiled, mask = generator(image)
    height, width = image.shape[-2:]
    side = 0.25 + 0.25 * float(torch.rand(()))
    rows, columns = int(height * side), int(width * side)
    # Around a spoiled pixel, so that there is something to see.
    marked = mask.reshape(height, width).nonzero()
    row, column = (
        marked[int(torch.randint(0, len(marked), ()))].tolist() if len(marked) else (height // 2, width // 2)
    )
    top = min(max(row - rows // 2, 0), height - rows)
    left = min(max(column - columns // 2, 0), width - columns)
    result = image.clone()
    window = (slice(None), slice(top, top + rows), slice(left, left + columns))
    result[window] = spoiled[window]
    return result
