"""How well a coreset covers the patches it was chosen from."""

from __future__ import annotations

import math

import torch

from export.coreset.distances import (
    BLOCK_CENTERS,
    BLOCK_ROWS,
    Patches,
    check_features,
    full_precision,
)
from runtime.errors import TrainingError


def covering_radius(features: torch.Tensor, selected: torch.Tensor) -> float:
    """Distance of the patch that is farthest from its nearest selected patch.

    Computed in float32; the patches that rounding could have put first are computed again in
    float64.

    Args:
        features: (N, D), float32, any device; one row a patch.
        selected: (K,) int64 indices into ``features``, on the same device.

    Returns:
        The radius, in the features' own unit; 0.0 if every patch is selected or equals a selected
        one.

    Raises:
        TrainingError: features that are no finite matrix, or a selection that is empty or out of
            range.
    """
    check_features(features)
    count = len(features)
    if (
        selected.ndim != 1
        or not len(selected)
        or int(selected.min()) < 0
        or int(selected.max()) >= count
    ):
        raise TrainingError(
            f"coreset: expected a list of indices between 0 and {count - 1}, found shape "
            f"{tuple(selected.shape)} "
            "or an index out of range; take them from select_coreset on the same features"
        )
    with full_precision(features.device):
        everything = torch.arange(count, device=features.device)
        rough = Patches(features)
        squared = _nearest(rough, everything, selected)
        farthest = (squared >= squared.max() - 2 * rough.rounding).nonzero()[:, 0]
        del rough
        exact = Patches(features, torch.float64)
        return exact.scale * math.sqrt(float(_nearest(exact, farthest, selected).max()))


def _nearest(patches: Patches, indices: torch.Tensor, selected: torch.Tensor) -> torch.Tensor:
    """Squared distance of each patch to the nearest selected one, in blocks: (K,)."""
    nearest = torch.full(
        (len(indices),), torch.inf, dtype=patches.rows.dtype, device=indices.device
    )
    for some in torch.split(selected, BLOCK_CENTERS):
        centers = patches.as_centers(some)
        for block, rows in zip(
            torch.split(nearest, BLOCK_ROWS), torch.split(indices, BLOCK_ROWS), strict=True
        ):
            torch.minimum(block, patches.nearest(rows, centers), out=block)
    # A selected patch is at distance zero from itself, whatever the rounding says.
    nearest[torch.isin(indices, selected)] = 0
    return nearest
