"""Synthetic defects, for the gate to judge an INT8 variant by where there are no pictures of bad parts.

A piece of another good part, turned, with its light changed, is blended into a part under a ragged
mask: the cut and paste of Li et al. (CutPaste, CVPR 2021) with the blending of Zavrtanik et al.
(DRAEM, ICCV 2021), from the folder's own pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from runtime.types import UInt8Image

# What is easy to see separates nothing: every variant finds it.
OPACITY = (0.1, 1.0)
# Of a window, as a share of the picture's.
SIDE = (0.06, 0.25)
# Of what is pasted: contrast, and brightness in grey levels.
CONTRAST = (0.6, 1.5)
BRIGHTNESS = (-50.0, 50.0)
# Deviation of the noise that a mask is cut from, as a share of the window.
_RAGGED = 0.15


def synthetic_defects(
    parts: Sequence[UInt8Image], count: int, seed: int = 0
) -> Iterator[UInt8Image]:
    """Good parts with one defect each, made one at a time.

    Args:
        parts: uint8 (H, W, 3) RGB of one size, at least one.
        count: how many to make; the parts take turns.
        seed: the same seed, the same defects.
    """
    rng = np.random.default_rng(seed)
    for index in range(count):
        yield _spoiled(parts[index % len(parts)], parts[int(rng.integers(len(parts)))], rng)


def _spoiled(part: UInt8Image, other: UInt8Image, rng: np.random.Generator) -> UInt8Image:
    height, width = part.shape[:2]
    side = rng.uniform(*SIDE)
    rows, columns = max(3, round(height * side)), max(3, round(width * side))
    top, y = rng.integers(height - rows + 1, size=2)
    left, x = rng.integers(width - columns + 1, size=2)
    piece = other[y : y + rows, x : x + columns].astype(np.float32)
    piece = piece[:: int(rng.choice((-1, 1))), :: int(rng.choice((-1, 1)))]
    mean = piece.mean(axis=(0, 1))
    piece = (piece - mean) * rng.uniform(*CONTRAST) + mean + rng.uniform(*BRIGHTNESS)
    weight = rng.uniform(*OPACITY) * _mask(rows, columns, rng)[..., None]
    spoiled = part.copy()
    window = (slice(top, top + rows), slice(left, left + columns))
    blended = part[window] * (1 - weight) + piece * weight
    spoiled[window] = np.clip(np.rint(blended), 0, 255).astype(np.uint8)
    return spoiled


def _mask(rows: int, columns: int, rng: np.random.Generator) -> np.ndarray:
    """The larger half of smooth noise, float32 (rows, columns) in [0, 1]."""
    noise = rng.standard_normal((rows, columns)).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), max(1.0, _RAGGED * min(rows, columns)))
    return np.asarray(noise > np.median(noise), dtype=np.float32)
