"""From what was typed behind ``--roi`` to a region of interest at the model's size."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path

import cv2
import numpy as np

from runtime.errors import ImageError, TrainingError
from runtime.images.preprocess import decode_rgb
from runtime.images.roi import RegionOfInterest
from runtime.types import Mask

# Pixels of the model's input: a smaller region holds hardly a patch.
LEAST_SIDE = 16
# How far two aspect ratios may be apart.
_ASPECT_ROOM = 0.02


def make_roi(
    text: str, sizes_hw: Collection[tuple[int, int]], size_hw: tuple[int, int]
) -> RegionOfInterest:
    """Read a region of interest.

    Args:
        text: ``X,Y,W,H`` in whole pixels of the parts' own pictures, the same in shares of them
            (with decimal points), or the path of a mask picture, white inside.
        sizes_hw: heights and widths that the good parts' pictures have.
        size_hw: height and width of the model's input.

    Raises:
        TrainingError: no such region, one outside of the pictures, none or all of them, one too
            small for the model, or a mask of another shape than the pictures.
    """
    numbers = _numbers(text)
    if numbers is None:
        mask = _from_picture(Path(text), sizes_hw, size_hw)
    else:
        mask = _from_box(text, numbers, sizes_hw, size_hw)
    roi = RegionOfInterest(mask)
    sides = [part.stop - part.start for part in roi.window]
    if min(sides) < LEAST_SIDE:
        raise TrainingError(
            f"--roi {text}: expected at least {LEAST_SIDE} pixels a side at the model's size, "
            f"found {sides[1]}x{sides[0]}; give a larger --roi or a larger --size"
        )
    return roi


def _numbers(text: str) -> list[float] | None:
    """Four numbers; None where it is the name of a file."""
    parts = text.split(",")
    try:
        return [float(part) for part in parts] if len(parts) > 1 else None
    except ValueError:
        return None


def _from_box(
    text: str,
    numbers: list[float],
    sizes_hw: Collection[tuple[int, int]],
    size_hw: tuple[int, int],
) -> Mask:
    said = f"--roi {text}: expected"
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
        raise TrainingError(
            f"{said} four numbers X,Y,W,H, found another text; e.g. --roi 120,80,600,400 in pixels "
            "or --roi 0.1,0.1,0.8,0.8 in shares of the picture"
        )
    if "." not in text:
        if len(sizes_hw) != 1:
            raise TrainingError(
                f"{said} pictures of one size for a box in pixels, found {len(sizes_hw)} sizes; "
                "give shares of the picture, e.g. --roi 0.1,0.1,0.8,0.8"
            )
        ((rows, columns),) = sizes_hw
        numbers = [number / side for number, side in zip(numbers, (columns, rows) * 2, strict=True)]
        of = f"{columns}x{rows} pixels"
    else:
        of = "shares of the picture from 0 to 1"
    left, top, width, height = numbers
    room = 1.0 + 1e-9
    if min(left, top) < 0 or min(width, height) <= 0 or max(left + width, top + height) > room:
        raise TrainingError(f"{said} a box inside {of}, found one that is outside or empty")
    high, wide = size_hw
    mask = np.zeros(size_hw, np.bool_)
    mask[
        round(top * high) : round((top + height) * high),
        round(left * wide) : round((left + width) * wide),
    ] = True
    if mask.all():
        raise TrainingError(f"{said} a part of the picture, found all of it; leave --roi out")
    if not mask.any():
        raise TrainingError(
            f"{said} at least {LEAST_SIDE} pixels a side at the model's size, found none; give a "
            "larger --roi or a larger --size"
        )
    return mask


def _from_picture(
    path: Path, sizes_hw: Collection[tuple[int, int]], size_hw: tuple[int, int]
) -> Mask:
    try:
        gray = cv2.cvtColor(decode_rgb(path), cv2.COLOR_RGB2GRAY)
    except ImageError as error:
        raise TrainingError(
            f"--roi: expected X,Y,W,H or a mask picture, white inside, found {error}"
        ) from error
    inside = gray > 127
    if inside.all() or not inside.any():
        raise TrainingError(
            f"--roi {path}: expected a mask with white inside and black outside, found "
            f"{'white' if inside.all() else 'black'} alone; paint it again"
        )
    rows, columns = inside.shape
    for height, width in sorted(sizes_hw):
        if abs(math.log(columns * height / (rows * width))) > _ASPECT_ROOM:
            raise TrainingError(
                f"--roi {path}: expected the shape of the pictures, {width}x{height} pixels, found "
                f"{columns}x{rows}; paint the mask over one of the pictures"
            )
    shares = cv2.resize(inside.astype(np.float32), size_hw[::-1], interpolation=cv2.INTER_AREA)
    mask = np.asarray(shares > 0.5)
    if not mask.any():
        raise TrainingError(
            f"--roi {path}: expected at least {LEAST_SIDE} pixels a side at the model's size, "
            "found none; give a larger --size"
        )
    if mask.all():
        raise TrainingError(
            f"--roi {path}: expected a part of the picture, found all of it; leave --roi out"
        )
    return mask
