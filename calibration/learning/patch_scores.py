"""PatchCore's score from patches and a memory bank, in NumPy.

Roth et al., "Towards Total Recall in Industrial Anomaly Detection", CVPR 2022; the mean over a
share of the patches in the place of the maximum is this project's default (docs/recipes.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from calibration.learning.distances import squared_distances
from runtime.types import Float32, Float32Map


@dataclass(frozen=True)
class PatchScorer:
    """How distances become a score.

    Attributes:
        share: the score is the mean of this share of the patches, the most anomalous ones; 0 means
            the re-weighted maximum.
        blur: deviation in patches of the Gaussian over the distances before that mean.
        neighbors: of the re-weighting; 1 means none.
    """

    share: float
    blur: float
    neighbors: int

    def score(
        self, patches: Float32, bank: Float32, grid_hw: tuple[int, int]
    ) -> tuple[float, Float32Map]:
        """Raw score and map before up-sampling, float32 (h, w).

        Args:
            patches: of one picture, float32 (h * w, D), row after row.
            bank: float32 (K, D).
            grid_hw: h and w.
        """
        squared = squared_distances(patches, bank)
        nearest = np.sqrt(squared.min(axis=1))
        found = np.asarray(nearest.reshape(grid_hw), dtype=np.float32)
        if self.share:
            smooth = smoothed(found, self.blur).ravel()
            count = patches_scored(self.share, smooth.size)
            return float(np.sort(smooth)[-count:].mean(dtype=np.float64)), found
        worst = int(nearest.argmax())
        return float(nearest[worst]) * self._weight(squared[worst], bank), found

    def _weight(self, squared: Float32, bank: Float32) -> float:
        """Equation 7 of the paper: how usual the nearest prototype is among its neighbors.

        Args:
            squared: distances of the most anomalous patch to the prototypes, (K,).
            bank: float32 (K, D).
        """
        if self.neighbors < 2:
            return 1.0
        nearest = int(squared.argmin())
        around = squared_distances(bank[nearest][None], bank)[0]
        # Its distance to itself is zero, but for rounding.
        around[nearest] = -1.0
        support = np.argsort(around, kind="stable")[: self.neighbors]
        distances = np.sqrt(squared[support], dtype=np.float64)
        exponentials = np.exp(distances - distances.max())
        return float(1.0 - exponentials[0] / exponentials.sum())


def patches_scored(share: float, patches: int) -> int:
    """How many of the patches make the score: at least one."""
    return max(1, round(share * patches))


def bound_and_scale(typical: float, bound: float) -> tuple[float, float]:
    """What a graph needs to say how far a score is from those of good parts.

    Args:
        typical: raw score of a typical good part.
        bound: raw score that few good ones exceed.

    Returns:
        The bound, and one over the span between the two.
    """
    # Good parts that all score the same leave no span; what exceeds them is then as far as the
    # descriptor's bounds allow.
    return bound, 1.0 / max(bound - typical, 1e-6 * max(abs(bound), 1.0))


def blur_reach(sigma: float) -> int:
    """Cells to either side that the Gaussian over the distances takes in."""
    return int(4.0 * sigma + 0.5)


def smoothed(found: Float32Map, sigma: float) -> Float32Map:
    """A map under the Gaussian, its border mirrored, as anomalib's blur; 0 leaves it as it is."""
    reach = blur_reach(sigma)
    if reach == 0:
        return found
    places = np.arange(-reach, reach + 1, dtype=np.float64)
    weights = np.exp(-(places**2) / (2.0 * sigma**2))
    kernel = weights / weights.sum()
    blurred = cv2.sepFilter2D(found, cv2.CV_32F, kernel, kernel, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(blurred, dtype=np.float32)
