"""Squared distances from patches to centers, block by block, in bounded memory."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import TrainingError
from runtime.types import Float32

# A matrix (N, D), or its (N,) rows, in float32 or float64.
Real = npt.NDArray[Any]
Places = npt.NDArray[np.intp]

# One product of 1,024 x 1,024 distances is 4 MiB: large enough to run at the speed of the
# processor's matrix units, small enough to stay in its caches until the minimum has been taken.
BLOCK_ROWS = 1024
BLOCK_CENTERS = 1024
_PREPARE_ROWS = 8192


def blocks(count: int, size: int) -> list[slice]:
    """Consecutive slices of at most ``size`` that cover ``count``."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


class Patches:
    """Patches centred, scaled and laid out so that one matrix product gives squared distances.

    A row is ``[x, 1]`` and a center ``[-2c, |c|^2]``; their product plus ``|x|^2`` is ``|x -
    c|^2``. Centring on the mean keeps the cancellation in that sum small, scaling keeps extreme
    inputs from overflowing.

    Attributes:
        rows: (N, D + 1), float32 or float64.
        norms: (N,) squared length of each centred and scaled patch.
        scale: what one unit here is in the features' own unit.
        rounding: the largest error to expect in a squared distance.
    """

    def __init__(
        self, features: Real, dtype: type[np.float32] | type[np.float64] = np.float32
    ) -> None:
        count, dimensions = features.shape
        some = blocks(count, _PREPARE_ROWS)
        offset = np.zeros(dimensions)
        for block in some:
            offset += (features[block].astype(np.float64) / count).sum(axis=0)
        self.scale = max(float(np.abs(features[block] - offset).max()) for block in some) or 1.0
        self.rows: Real = np.ones((count, dimensions + 1), dtype)
        self.norms: Real = np.empty(count, dtype)
        for block in some:
            self.rows[block, :dimensions] = (features[block] - offset) / self.scale
            own = self.rows[block, :dimensions]
            self.norms[block] = np.einsum("nd,nd->n", own, own)
        # Rounding errors of a dot product add up like a random walk over its terms.
        self.rounding = (
            4 * float(np.finfo(dtype).eps) * math.sqrt(dimensions + 1) * float(self.norms.max())
        )

    def __len__(self) -> int:
        return len(self.rows)

    def as_centers(self, places: Places) -> Real:
        """Rows as the other side of the product: (K, D + 1)."""
        centers: Real = self.rows[places] * self.rows.dtype.type(-2)
        centers[:, -1] = self.norms[places]
        return centers

    def nearest(self, places: Places, centers: Real) -> Real:
        """Squared distance of each patch to the nearest of some centers.

        Args:
            places: (K,) at most a block of patches.
            centers: (C, D + 1), at most a block from :meth:`as_centers`.

        Returns:
            (K,) squared distances, never negative.
        """
        # Minima of whole rows, center by center, are faster than of each patch's column.
        products = centers @ self.rows[places].T
        found: Real = np.maximum(products.min(axis=0) + self.norms[places], 0)
        return found

    def pairwise(self, places: Places) -> Real:
        """Squared distances among a few patches: (K, K), never negative."""
        products = self.rows[places] @ self.as_centers(places).T
        products += self.norms[places][:, None]
        found: Real = np.maximum(products, 0, out=products)
        return found


def squared_distances(patches: Float32, bank: Float32) -> Float32:
    """Of every patch to every prototype, around the bank's mean, where they cancel least.

    Args:
        patches: float32 (P, D).
        bank: float32 (K, D).

    Returns:
        float32 (P, K), never negative.
    """
    center = bank.mean(axis=0, dtype=np.float64).astype(np.float32)
    these, those = patches - center, bank - center
    found: Float32 = (these * np.float32(-2.0)) @ those.T
    found += np.einsum("kd,kd->k", those, those)
    found += np.einsum("pd,pd->p", these, these)[:, None]
    np.maximum(found, 0.0, out=found)
    return found


def check_features(features: Real) -> None:
    """Refuse anything but a matrix of finite numbers.

    Raises:
        TrainingError: not (N, D) with at least one patch and one dimension, or NaN or infinity in
            it.
    """
    if features.ndim != 2 or 0 in features.shape:
        raise TrainingError(
            "coreset: expected features of shape (patches, dimensions), found "
            f"{tuple(features.shape)}; "
            "check that the training folder holds images and that the layers give feature maps"
        )
    if not np.isfinite(features.min()) or not np.isfinite(features.max()):
        raise TrainingError(
            "coreset: expected finite features, found NaN or infinity; check the backbone's weights"
        )
