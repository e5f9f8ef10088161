"""Every place is seen once, by a tile that is not at its border, as by anomalib's tiler."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from anomalib.data.utils.tiler import Tiler
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from export.backbones.extractors import make_extractor
from export.models.patchcore.recipe import GRID, PatchCoreRecipe
from export.models.patchcore.tiles import TiledExtractor, tile_starts
from runtime.errors import TrainingError

pytestmark = pytest.mark.slow

LAYERS = ("blocks.2", "blocks.4", "blocks.6")


@pytest.fixture(scope="module")
def extractor():
    return make_extractor("tf_efficientnet_lite0", LAYERS, None)


class Averages(nn.Module):
    """A network that sees no further than its own patch: tiles cannot change what it says."""

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {f"{stride}": nn.functional.avg_pool2d(images, stride) for stride in (8, 16, 32)}


@given(
    side=st.integers(1, 40),
    tile=st.integers(2, 12),
    overlap=st.integers(0, 11),
)
def test_tiles_cover_the_side_and_overlap_enough(side: int, tile: int, overlap: int) -> None:
    overlap = min(overlap, tile - 1)
    starts = tile_starts(side * GRID, tile * GRID, overlap * GRID)
    assert starts[0] == 0
    assert all(start % GRID == 0 for start in starts)
    assert starts[-1] == max(0, side - tile) * GRID
    gaps = [after - before for before, after in pairwise(starts)]
    assert all(0 < gap <= (tile - overlap) * GRID for gap in gaps)


@settings(max_examples=30)
@given(
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    tile=st.integers(2, 5),
    overlap=st.integers(0, 4),
)
def test_what_depends_on_a_patch_alone_is_stitched_exactly(
    height: int, width: int, tile: int, overlap: int
) -> None:
    images = torch.rand(2, 3, height * GRID, width * GRID)
    tiled = TiledExtractor(Averages(), tile * GRID, min(overlap, tile - 1) * GRID)  # type: ignore[arg-type]
    for layer, expected in Averages()(images).items():
        torch.testing.assert_close(tiled(images)[layer], expected, rtol=0, atol=1e-6)


def test_without_overlap_it_is_anomalib_s_tiler(extractor):
    images = torch.rand(1, 3, 256, 384)
    tiler = Tiler(tile_size=128, stride=128)
    with torch.no_grad():
        of_tiles = extractor(tiler.tile(images))
        found = TiledExtractor(extractor, 128, 0)(images)
    for layer in LAYERS:
        torch.testing.assert_close(
            found[layer], tiler.untile(of_tiles[layer]), rtol=1e-4, atol=1e-5
        )


def test_one_tile_is_the_whole_picture(extractor):
    images = torch.rand(1, 3, 96, 128)
    with torch.no_grad():
        expected, found = extractor(images), TiledExtractor(extractor, 128, 32)(images)
    for layer in LAYERS:
        torch.testing.assert_close(found[layer], expected[layer])


def test_overlap_brings_tiles_nearer_to_the_whole_picture(extractor):
    images = torch.rand(1, 3, 256, 256)
    layer = "blocks.2"
    with torch.no_grad():
        whole = extractor(images)[layer]
        errors = [
            float((TiledExtractor(extractor, 128, overlap)(images)[layer] - whole).abs().mean())
            for overlap in (0, 64)
        ]
    assert errors[1] < 0.5 * errors[0]


def test_a_backbone_off_the_grid_is_refused():
    class Odd(nn.Module):
        def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"odd": nn.functional.avg_pool2d(images, 14)}

    with pytest.raises(TrainingError, match="--tile: expected a backbone"):
        TiledExtractor(Odd(), 128, 32)(torch.rand(1, 3, 256, 256))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "flag"),
    [
        ({"tile": 100}, "--tile"),
        ({"tile": 32}, "--tile"),
        ({"tile": 128, "tile_overlap": 128}, "--tile-overlap"),
        ({"tile": 128, "tile_overlap": 20}, "--tile-overlap"),
        ({"tile": 128, "size_hw": (250, 250)}, "--size"),
    ],
)
def test_tiles_that_do_not_fit_are_refused(settings, flag):
    with pytest.raises(TrainingError, match=f"^{flag}: expected"):
        PatchCoreRecipe(**settings)
