"""Each statistic of a picture against an independent computation, and what a camera's faults do to
it."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from runtime.health.statistics import STATISTICS, center, measure


def photograph(seed: int = 0, side: int = 96) -> np.ndarray:
    """Smooth structure with grain, away from black and white."""
    rng = np.random.default_rng(seed)
    smooth = cv2.GaussianBlur(rng.normal(0, 1, (side, side, 3)), (0, 0), 6)
    smooth *= 30 / smooth.std()
    return np.clip(120 + smooth + rng.normal(0, 4, (side, side, 3)), 10, 245).astype(np.uint8)


def gray_of(image: np.ndarray) -> np.ndarray:
    """ITU-R BT.601 luma, rounded."""
    return np.floor(image @ np.array([0.299, 0.587, 0.114]) + 0.5)


@pytest.mark.parametrize("seed", range(5))
def test_statistics_agree_with_numpy_and_scipy(seed: int) -> None:
    image = photograph(seed)
    image[:7, :9] = 255
    image[20:24, :] = 2
    gray = gray_of(image)
    found = measure(image)
    assert found["brightness"] == pytest.approx(np.log2(1 + gray.mean()), abs=1e-4)
    assert found["contrast"] == pytest.approx(np.log2(1 + gray.std()), abs=1e-4)
    assert found["white_share"] == pytest.approx(np.log2(1 + 100 * (gray > 250).mean()), abs=1e-9)
    assert found["black_share"] == pytest.approx(np.log2(1 + 100 * (gray < 5).mean()), abs=1e-9)
    red, green, blue = image.reshape(-1, 3).mean(axis=0)
    assert found["red_cast"] == pytest.approx(100 * (red - green) / (1 + gray.mean()), abs=1e-3)
    assert found["blue_cast"] == pytest.approx(100 * (blue - green) / (1 + gray.mean()), abs=1e-3)
    sharp = (ndimage.laplace(gray, mode="mirror") ** 2).mean()
    assert found["focus"] == pytest.approx(np.log2((sharp + 0.1) / (gray.var() + 0.1)), abs=1e-3)


def test_blur_lowers_focus_step_by_step_and_dimming_leaves_it() -> None:
    image = photograph(side=256)
    levels = [measure(image)["focus"]]
    levels += [measure(cv2.GaussianBlur(image, (0, 0), sigma))["focus"] for sigma in (0.7, 1.5)]
    assert all(later < earlier - 0.5 for earlier, later in pairwise(levels))
    dimmed = measure((image * 0.5).astype(np.uint8))
    assert dimmed["focus"] == pytest.approx(levels[0], abs=0.15)
    assert dimmed["brightness"] == pytest.approx(measure(image)["brightness"] - 1, abs=0.05)


def test_a_tint_shows_in_its_own_color_alone() -> None:
    image = photograph()
    before = measure(image)
    reddish = image.astype(np.float32)
    reddish[:, :, 0] *= 1.1
    after = measure(np.clip(reddish, 0, 255).astype(np.uint8))
    assert after["red_cast"] - before["red_cast"] > 5
    assert abs(after["blue_cast"] - before["blue_cast"]) < 1


@pytest.mark.parametrize(("right", "down"), [(0, 0), (5, 0), (0, -7), (-9, 4)])
@pytest.mark.parametrize(("part", "ground"), [(40, 230), (200, 15)])
def test_a_part_that_moves_takes_the_center_with_it(
    right: int, down: int, part: int, ground: int
) -> None:
    picture = np.full((128, 128), ground, np.uint8)
    picture[34 + down : 94 + down, 44 + right : 84 + right] = part
    assert center(picture) == pytest.approx((100 * right / 128, 100 * down / 128), abs=0.1)


def test_the_center_agrees_with_scipys_center_of_mass() -> None:
    gray = np.random.default_rng(4).integers(0, 256, (64, 64), dtype=np.uint8)
    border = np.concatenate([gray[0], gray[-1], gray[1:-1, 0], gray[1:-1, -1]]).mean()
    row, column = ndimage.center_of_mass(np.abs(gray - border))
    expected = (100 * ((column + 0.5) / 64 - 0.5), 100 * ((row + 0.5) / 64 - 0.5))
    assert center(gray) == pytest.approx(expected, abs=1e-3)


@settings(max_examples=30, deadline=None)
@given(level=st.integers(0, 255), grain=st.integers(0, 255), seed=st.integers(0, 99))
def test_every_picture_has_finite_statistics(level: int, grain: int, seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, grain + 1, (32, 32, 3))
    image = np.clip(level + noise, 0, 255).astype(np.uint8)
    found = measure(image)
    assert set(found) == set(STATISTICS)
    assert all(np.isfinite(value) for value in found.values())
    assert all(-50 <= found[name] <= 50 for name in ("centre_x", "centre_y"))


@pytest.mark.parametrize("statistic", STATISTICS.values(), ids=str)
def test_what_is_shown_is_what_is_stored(statistic) -> None:
    assert statistic.stored(12.5) == pytest.approx(
        np.log2(13.5) if statistic.scale == "doublings" else 12.5
    )
    assert statistic.shown(statistic.stored(12.5)).split()[0] == "12.5"
    with pytest.raises(ValueError, match="inf"):
        statistic.stored(float("inf"))
