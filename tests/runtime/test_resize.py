"""The resize where sizes are not whole multiples, or one axis shrinks while the other grows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from runtime.images.preprocess import resize


def area_weights(source: int, target: int) -> npt.NDArray[np.float64]:
    """(target, source): share of each source pixel in each target pixel's area."""
    edges = np.arange(target + 1) * source / target
    left = np.maximum(edges[:-1, None], np.arange(source))
    right = np.minimum(edges[1:, None], np.arange(1, source + 1))
    return np.maximum(right - left, 0.0) * target / source


@pytest.mark.parametrize(
    ("source_hw", "target_hw"), [((100, 90), (32, 32)), ((33, 65), (32, 32)), ((300, 31), (64, 31))]
)
def test_shrinking_averages_areas(source_hw: tuple[int, int], target_hw: tuple[int, int]) -> None:
    image = np.random.default_rng(1).integers(0, 256, (*source_hw, 3), dtype=np.uint8)
    rows, columns = (
        area_weights(source_hw[0], target_hw[0]),
        area_weights(source_hw[1], target_hw[1]),
    )
    expected = np.einsum("yr,rcd,xc->yxd", rows, image.astype(np.float64), columns)
    assert np.abs(resize(image, target_hw) - expected).max() <= 1.0


def test_growing_is_bilinear_with_half_pixel_centers() -> None:
    ramp = np.repeat(np.arange(0, 160, 10, dtype=np.uint8)[None, :, None], 16, axis=0).repeat(
        3, axis=2
    )
    grown = resize(np.ascontiguousarray(ramp), (16, 64))
    centers = (np.arange(64) + 0.5) / 4 - 0.5
    expected = np.interp(centers, np.arange(16), ramp[0, :, 0].astype(float))
    assert np.abs(grown[5, :, 1] - expected).max() <= 1.0


@pytest.mark.parametrize("axis", [0, 1])
def test_an_axis_that_shrinks_does_not_alias_while_the_other_grows(axis: int) -> None:
    # Stripes of one pixel: their mean is 127.5 whichever pixels a resize without averaging would
    # pick.
    image = np.zeros((1024, 16, 3), np.uint8)
    image[::2] = 255
    if axis == 1:
        image = np.ascontiguousarray(image.transpose(1, 0, 2))
    furthest = float(np.abs(resize(image, (32, 32)).astype(float) - 127.5).max())
    assert furthest <= 1.0


def test_the_models_own_size_is_left_alone_and_contiguous() -> None:
    image = np.random.default_rng(2).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    np.testing.assert_array_equal(resize(image, (32, 48)), image)
    flipped = resize(image[:, ::-1], (32, 48))
    assert flipped.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(flipped, image[:, ::-1])


def test_height_comes_before_width() -> None:
    assert resize(np.zeros((50, 60, 3), np.uint8), (20, 40)).shape == (20, 40, 3)
