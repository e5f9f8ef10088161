"""Squared distances from patches to centers, block by block, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from runtime.errors import TrainingError

# One product of 1,024 x 1,024 distances is 4 MiB: large enough to run at the speed of the
# processor's matrix units, small enough to stay in its caches until the minimum has been taken.
BLOCK_ROWS = 1024
BLOCK_CENTERS = 1024
_PREPARE_ROWS = 8192


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

    def __init__(self, features: torch.Tensor, dtype: torch.dtype = torch.float32) -> None:
        count, dimensions = features.shape
        device = features.device
        blocks = torch.split(features, _PREPARE_ROWS)
        offset = torch.zeros(dimensions, dtype=torch.float64, device=device)
        for block in blocks:
            offset += (block.double() / count).sum(0)
        self.scale = max(float((block.double() - offset).abs_().max()) for block in blocks) or 1.0
        self.rows = torch.ones(count, dimensions + 1, dtype=dtype, device=device)
        for target, block in zip(torch.split(self.rows, _PREPARE_ROWS), blocks, strict=True):
            target[:, :dimensions] = (block.double() - offset).div_(self.scale)
        self.norms = torch.empty(count, dtype=dtype, device=device)
        for norms, block in zip(
            torch.split(self.norms, _PREPARE_ROWS),
            torch.split(self.rows, _PREPARE_ROWS),
            strict=True,
        ):
            norms.copy_(block[:, :dimensions].square().sum(1))
        # Rounding errors of a dot product add up like a random walk over its terms.
        self.rounding = (
            4 * torch.finfo(dtype).eps * math.sqrt(dimensions + 1) * float(self.norms.max())
        )

    def __len__(self) -> int:
        return len(self.rows)

    def as_centers(self, indices: torch.Tensor) -> torch.Tensor:
        """Rows as the other side of the product: (K, D + 1)."""
        centers = self.rows[indices] * -2
        centers[:, -1] = self.norms[indices]
        return centers

    def nearest(self, indices: torch.Tensor, centers: torch.Tensor) -> torch.Tensor:
        """Squared distance of each patch to the nearest of some centers.

        Args:
            indices: (K,) int64, at most a block of patches.
            centers: (C, D + 1), at most a block from :meth:`as_centers`.

        Returns:
            (K,) squared distances, never negative.
        """
        products = self.rows[indices] @ centers.T
        return products.amin(1).add_(self.norms[indices]).clamp_(min=0)

    def pairwise(self, indices: torch.Tensor) -> torch.Tensor:
        """Squared distances among a few patches: (K, K), never negative."""
        products = self.rows[indices] @ self.as_centers(indices).T
        return products.add_(self.norms[indices][:, None]).clamp_(min=0)


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """All of float32: no autocast, TF32 or bfloat16 products within the block."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def check_features(features: torch.Tensor) -> None:
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
    low, high = torch.aminmax(features)
    if not bool(torch.isfinite(low) & torch.isfinite(high)):
        raise TrainingError(
            "coreset: expected finite features, found NaN or infinity; check the backbone's weights"
        )
