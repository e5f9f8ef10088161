"""A large picture goes through the backbone in overlapping tiles, stitched together.

A backbone knows pictures of the size that it was trained with. One whose view of a place depends on
the rest of the picture (squeeze-and-excitation, attention) says something else on a photograph of a
thousand pixels; tiles of its own size keep it in its element. Maps are cut in the middle of each
overlap, where a tile's padded border is furthest away, so there is one map, one memory bank and one
score of the whole part.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from anomalib.models.components import TimmFeatureExtractor
from torch import nn

from export.models.patchcore.recipe import GRID
from runtime.errors import TrainingError


def tile_starts(side: int, tile: int, overlap: int) -> list[int]:
    """Where tiles start along one axis, in pixels: as few as overlap enough, spread evenly.

    Args:
        side: of the picture, a multiple of :data:`GRID`.
        tile: side of a tile, a multiple of :data:`GRID`.
        overlap: of neighbouring tiles at least, a multiple of :data:`GRID` smaller than the tile.
    """
    if side <= tile:
        return [0]
    steps = -(-(side - tile) // (tile - overlap))
    # No two starts are further apart than tile - overlap: that is a whole number of cells, and so
    # rounding cannot exceed it.
    cells = (side - tile) // GRID
    return [cells * step // steps * GRID for step in range(steps + 1)]


class TiledExtractor(nn.Module):
    """An extractor of anomalib's that sees a picture in tiles.

    Args:
        extractor: the frozen backbone.
        tile: side of a tile in pixels.
        overlap: of neighboring tiles in pixels, at least.
    """

    def __init__(self, extractor: TimmFeatureExtractor, tile: int, overlap: int) -> None:
        super().__init__()
        self.extractor = extractor
        self.tile = tile
        self.overlap = overlap

    @property
    def out_dims(self) -> Sequence[int]:
        """Channels of each layer, as of the extractor inside."""
        dims: Sequence[int] = self.extractor.out_dims
        return dims

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Maps of every layer.

        Args:
            images: float32 (N, 3, H, W), sides multiples of :data:`GRID`.

        Returns:
            ``{layer: float32 (N, C, h, w)}``, as of one pass over the whole pictures.
        """
        height, width = images.shape[-2:]
        tops, lefts = (tile_starts(side, self.tile, self.overlap) for side in (height, width))
        tiles = [images[:, :, y : y + self.tile, x : x + self.tile] for y in tops for x in lefts]
        maps = self.extractor(torch.cat(tiles))
        return {
            layer: self._stitch(found.split(len(images)), tops, lefts, (height, width))
            for layer, found in maps.items()
        }

    def _stitch(
        self,
        tiles: Sequence[torch.Tensor],
        tops: Sequence[int],
        lefts: Sequence[int],
        size_hw: tuple[int, int],
    ) -> torch.Tensor:
        """One map of the tiles' maps, row after row."""
        height, width = size_hw
        shown_h, shown_w = min(self.tile, height), min(self.tile, width)
        stride_y, stride_x = (
            _stride(shown_h, tiles[0].shape[-2]),
            _stride(shown_w, tiles[0].shape[-1]),
        )
        rows = _shares(tops, shown_h, height, stride_y)
        columns = _shares(lefts, shown_w, width, stride_x)
        whole = []
        for index, (top, bottom) in enumerate(rows):
            of_row = tiles[index * len(columns) : (index + 1) * len(columns)]
            cut = [
                tile[:, :, top:bottom, left:right]
                for tile, (left, right) in zip(of_row, columns, strict=True)
            ]
            whole.append(torch.cat(cut, dim=3))
        return torch.cat(whole, dim=2)


def _stride(pixels: int, patches: int) -> int:
    """Pixels to a patch of a tile's map."""
    stride = pixels // patches
    if stride * patches != pixels or GRID % stride:
        raise TrainingError(
            f"--tile: expected a backbone whose maps lie on a grid of {GRID} pixels, found "
            f"{patches} patches on {pixels} pixels; "
            "choose another --backbone or --layers, or leave --tile out"
        )
    return stride


def _shares(starts: Sequence[int], tile: int, side: int, stride: int) -> list[tuple[int, int]]:
    """Which rows (or columns) each tile gives to the whole: up to the middle of each overlap."""
    middles = [(after + before + tile) // 2 // stride for before, after in pairwise(starts)]
    edges = [0, *middles, side // stride]
    return [
        (low - start // stride, high - start // stride)
        for start, (low, high) in zip(starts, pairwise(edges), strict=True)
    ]
