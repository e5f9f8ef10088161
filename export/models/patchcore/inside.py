"""A region of interest in PatchCore: nothing outside reaches the networks, the bank or the score.

What is outside becomes zero after normalisation, the same as a convolution's padding: to the
networks the picture ends there. So no pixel outside can change a feature, not even of an attention
that sees all of the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from runtime.images.roi import RegionOfInterest


class MaskedExtractor(nn.Module):
    """An extractor that sees nothing outside of a region.

    Args:
        extractor: any extractor of normalised pictures.
        roi: the region, at the pictures' size.
    """

    mask: torch.Tensor

    def __init__(self, extractor: Any, roi: RegionOfInterest) -> None:
        super().__init__()
        self.extractor = extractor
        self.register_buffer("mask", torch.from_numpy(roi.mask.copy()).float()[None, None])

    @property
    def out_dims(self) -> Sequence[int]:
        """Channels of each layer, as of the extractor inside."""
        dims: Sequence[int] = self.extractor.out_dims
        return dims

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Maps of every layer, of float32 (N, 3, H, W)."""
        maps: dict[str, torch.Tensor] = self.extractor(images * self.mask)
        return maps


class Inside(nn.Module):
    """Which patches lie in the region.

    Args:
        roi: the region.
        grid_hw: patches in height and width.
        smoothing: of the distances, (N, 1, h, w) to the same.
        device: where it works.

    Attributes:
        cells: 1 inside and 0 outside, float32 (1, 1, h, w).
        weights: what smoothed distances are multiplied with, so that the region's edge, where half
            of what is averaged is zero, counts as much as its middle; 0 outside.
        count: patches inside.
    """

    cells: torch.Tensor
    weights: torch.Tensor

    def __init__(
        self,
        roi: RegionOfInterest,
        grid_hw: tuple[int, int],
        smoothing: Callable[[torch.Tensor], torch.Tensor],
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        cells = torch.from_numpy(roi.cells(grid_hw))[None, None].to(device)
        with torch.no_grad():
            reached = smoothing(cells)
        self.register_buffer("cells", cells)
        self.register_buffer("weights", cells / torch.where(cells > 0, reached, 1.0))
        self.grid_hw = grid_hw
        self.count = int(cells.sum())

    @property
    def chosen(self) -> torch.Tensor:
        """The same as cells, bool (h * w,)."""
        return self.cells.flatten() > 0
