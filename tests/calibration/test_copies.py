"""Turned and mirrored copies: what they show, and what of them is learned."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.learning.copies import (
    ANGLES,
    MOST_COPIES,
    Augment,
    Pose,
    copies_of,
    poses,
    stand_in,
)
from runtime.images.roi import RegionOfInterest
from runtime.types import Float32, UInt8Image


def picture(height: int = 48, width: int = 64) -> UInt8Image:
    drawn = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    return np.asarray(cv2.GaussianBlur(drawn, (0, 0), 2), np.uint8)


def test_half_a_turn_is_the_picture_upside_down() -> None:
    own = picture()
    found = Pose(180.0).of(own)
    assert np.abs(found.astype(int) - own[::-1, ::-1]).max() <= 1
    np.testing.assert_array_equal(stand_in(own, "none"), own[::-1, ::-1])


def test_a_turn_is_counterclockwise_and_a_square_keeps_all_of_it() -> None:
    own = picture(64, 64)
    assert np.abs(Pose(90.0).of(own).astype(int) - np.rot90(own)).max() <= 1
    # The outermost pixels may be cut through.
    assert Pose(90.0).seen(np.ones((64, 64), np.bool_), (64, 64))[1:-1, 1:-1].all()


@pytest.mark.parametrize("degrees", [17.0, 45.0, 160.0])
def test_what_no_camera_has_seen_is_not_learned(degrees: float) -> None:
    """A bright picture turned onto black: what stays bright was seen."""
    own_hw, size_hw = (120, 200), (64, 64)
    bright = np.full(own_hw, 255, np.uint8)
    center = ((own_hw[1] - 1) / 2, (own_hw[0] - 1) / 2)
    turn = cv2.getRotationMatrix2D(center, degrees, 1.0)
    turned = cv2.warpAffine(bright, turn, own_hw[::-1])
    shown = cv2.resize(turned, size_hw[::-1], interpolation=cv2.INTER_AREA)
    seen = Pose(degrees).seen(np.ones(size_hw, np.bool_), own_hw)
    assert (shown[seen] >= 254).all()
    assert (seen == (shown >= 254)).mean() > 0.97
    assert 0.3 < seen.mean() < 0.95


@pytest.mark.parametrize("augment", ["rotate", "flip"])
@pytest.mark.parametrize("parts", [1, 2, 7, 40, 511, 600])
def test_copies_are_bounded_and_shared_out_evenly(augment: Augment, parts: int) -> None:
    counts = [len(one) for one in poses(augment, parts)]
    assert len(counts) == parts
    assert sum(counts) <= MOST_COPIES
    assert max(counts) - min(counts) <= 1
    assert sum(counts) >= min(MOST_COPIES, 2 * parts)


def test_parts_together_show_every_angle() -> None:
    angles = sorted(pose.degrees % 360 for one in poses("rotate", 20) for pose in one)
    assert len(angles) == 20 * (ANGLES - 1)
    # Their own pose is one more.
    assert np.diff([0.0, *angles, 360.0]).max() < 17


def test_a_single_parts_stand_in_is_no_copy_of_it() -> None:
    own = picture(64, 64)
    augments: tuple[Augment, ...] = ("rotate", "flip")
    for augment in augments:
        for pose in poses(augment, 1)[0]:
            assert np.abs(pose.of(own).astype(int) - stand_in(own, augment)).mean() > 5


def averages(image: UInt8Image) -> Float32:
    """Patches of 8 x 8 pixels described by their mean color, (3, h, w)."""
    height, width = image.shape[:2]
    cells = image.reshape(height // 8, 8, width // 8, 8, 3).mean(axis=(1, 3))
    return np.ascontiguousarray(cells.transpose(2, 0, 1), np.float32)


def test_no_patch_shows_a_corner_that_was_filled(tmp_path: Path) -> None:
    path, size_hw = tmp_path / "part.png", (64, 64)
    cv2.imwrite(str(path), picture())
    found = copies_of(averages, [path], "rotate", size_hw)
    assert found is not None
    assert found.count == ANGLES - 1
    assert len(found.patches) == len(found.part)
    assert not found.part.any()
    expected = sum(
        int(
            Pose(pose.degrees)
            .seen(np.ones(size_hw, np.bool_), (48, 64))
            .reshape(8, 8, 8, 8)
            .all(axis=(1, 3))
            .sum()
        )
        for pose in poses("rotate", 1)[0]
    )
    assert len(found.patches) == expected < found.count * 64
    assert copies_of(averages, [path], "none", size_hw) is None


def test_a_region_of_interest_bounds_what_is_learned(tmp_path: Path) -> None:
    """Outside is white, inside black: no learned patch has seen white."""
    path, mask = tmp_path / "part.png", np.zeros((64, 64), np.bool_)
    mask[8:40, 16:56] = True
    gray = np.where(mask, 0, 255).astype(np.uint8)
    cv2.imwrite(str(path), gray)
    augments: tuple[Augment, ...] = ("rotate", "flip")
    for augment in augments:
        found = copies_of(averages, [path] * 3, augment, (64, 64), RegionOfInterest(mask))
        assert found is not None
        assert len(found.patches) > 20
        assert found.patches.max() < 2
