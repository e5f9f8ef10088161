"""One painter of synthetic defects, for where there are no pictures of bad parts.

A patch of another texture, turned, with its light changed, is blended into a good part under a
ragged mask: the cut and paste of Li et al. (CutPaste, CVPR 2021) with the Perlin masks and the
blending of Zavrtanik et al. (DRAEM, ICCV 2021). Scratches and stains join the patches. Such defects
rank variants and settings; what they say of real defects is little.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np

from runtime.types import Float32Map, Mask, UInt8Image

# Of the pasted texture: contrast, and brightness in gray levels.
CONTRAST = (0.6, 1.5)
BRIGHTNESS = (-50.0, 50.0)
# Cells of Perlin noise along a window's side, and the least level that belongs to the mask.
_CELLS = (1, 6)
_LEVEL = 0.05


@dataclass(frozen=True)
class DefectKind:
    """Defects of one kind.

    Attributes:
        name: for people.
        shape: what the mask looks like.
        opacity: how strongly the defect shows, least and most, in [0, 1].
        side: of the window that holds it, least and most, as a share of the picture's side.
    """

    name: str
    shape: Literal["patch", "scratch", "stain"]
    opacity: tuple[float, float]
    side: tuple[float, float]


# What is easy to see separates nothing, for every model finds it: the first two are faint or small.
FAINT_KINDS = (
    DefectKind("faint patch", "patch", (0.10, 0.35), (0.10, 0.30)),
    DefectKind("small patch", "patch", (0.15, 0.60), (0.08, 0.20)),
)
PATCH = DefectKind("patch", "patch", (0.10, 1.00), (0.06, 0.25))
SCRATCH = DefectKind("scratch", "scratch", (0.20, 0.90), (0.10, 0.35))
STAIN = DefectKind("stain", "stain", (0.10, 0.50), (0.06, 0.25))
KINDS = (*FAINT_KINDS, PATCH, SCRATCH, STAIN)
# How strongly a defect of a known strength shows: mean difference from the part in gray levels.
STRENGTHS = {"weak": 10.0, "medium": 25.0, "strong": 60.0}


def paint(
    image_rgb: UInt8Image,
    kind: DefectKind,
    rng: np.random.Generator,
    texture: UInt8Image | None = None,
) -> tuple[UInt8Image, Mask]:
    """One defect on one part.

    Args:
        image_rgb: a good part, uint8 (H, W, 3); it stays as it is.
        kind: what to paint.
        rng: the same state, the same defect.
        texture: uint8 (h, w, 3) RGB of any size that the defect is made of, say another good part;
            None for the part itself.

    Returns:
        The part with the defect, uint8 (H, W, 3), and where it is, bool (H, W).
    """
    height, width = image_rgb.shape[:2]
    side = rng.uniform(*kind.side)
    rows, columns = max(3, round(height * side)), max(3, round(width * side))
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    window = (slice(top, top + rows), slice(left, left + columns))
    weight = _SHAPES[kind.shape](rows, columns, rng)
    piece = _piece(image_rgb if texture is None else texture, (height, width), weight.shape, rng)
    opacity = rng.uniform(*kind.opacity) * weight[..., None]
    painted, mask = image_rgb.copy(), np.zeros((height, width), dtype=np.bool_)
    blended = image_rgb[window] * (1.0 - opacity) + piece * opacity
    painted[window] = np.clip(np.rint(blended), 0, 255).astype(np.uint8)
    mask[window] = weight > 0.0
    return painted, mask


def synthetic_defects(
    parts: Sequence[UInt8Image],
    count: int,
    seed: int = 0,
    kinds: Sequence[DefectKind] = KINDS,
) -> Iterator[UInt8Image]:
    """Good parts with one defect each, made one at a time.

    Args:
        parts: uint8 (H, W, 3) RGB of one size, at least one; each is also the texture of others.
        count: how many to make; parts take turns, and so do kinds from round to round.
        seed: the same seed, the same defects.
        kinds: of defects.
    """
    rng = np.random.default_rng(seed)
    for index in range(count):
        kind = kinds[(index + index // len(parts)) % len(kinds)]
        texture = parts[int(rng.integers(len(parts)))]
        yield paint(parts[index % len(parts)], kind, rng, texture)[0]


def graded_defect(
    part: UInt8Image, index: int, seed: int
) -> tuple[dict[str, UInt8Image], Mask, DefectKind]:
    """One defect, as weak, as medium and as strong as :data:`STRENGTHS` says.

    Args:
        part: a good part, uint8 (H, W, 3) RGB.
        index: of the defect; scratches, stains and patches take turns.
        seed: the same part, index and seed, the same defect.

    Returns:
        By strength the part with the defect, uint8 (H, W, 3); where it is, bool (H, W); its kind.
    """
    kind = (SCRATCH, STAIN, PATCH)[index % 3]
    rng = np.random.default_rng([seed, index])
    painted, mask = paint(part, replace(kind, opacity=(1.0, 1.0)), rng)
    difference = painted.astype(np.float32) - part
    shown = float(np.abs(difference[mask]).mean())
    graded = {
        name: np.clip(np.rint(part + difference * (level / max(shown, 1.0))), 0, 255)
        for name, level in STRENGTHS.items()
    }
    return {name: one.astype(np.uint8) for name, one in graded.items()}, mask, kind


def _piece(
    texture: UInt8Image,
    size_hw: tuple[int, int],
    window_hw: tuple[int, ...],
    rng: np.random.Generator,
) -> Float32Map:
    """A window of the texture, maybe mirrored, in other light; float (h, w, 3)."""
    height, width = size_hw
    rows, columns = window_hw
    if texture.shape[:2] != size_hw:
        texture = cv2.resize(texture, (width, height), interpolation=cv2.INTER_AREA)
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    piece = texture[top : top + rows, left : left + columns].astype(np.float32)
    piece = piece[:: int(rng.choice((-1, 1))), :: int(rng.choice((-1, 1)))]
    mean = piece.mean(axis=(0, 1))
    changed = (piece - mean) * rng.uniform(*CONTRAST) + mean + rng.uniform(*BRIGHTNESS)
    return np.asarray(changed, dtype=np.float32)


def _patch(rows: int, columns: int, rng: np.random.Generator) -> Float32Map:
    """Where Perlin noise is high."""
    noise = _perlin(rows, columns, rng)
    # A window of few pixels may hold no high value.
    return np.asarray(noise >= min(_LEVEL, float(noise.max())), dtype=np.float32)


def _scratch(rows: int, columns: int, rng: np.random.Generator) -> Float32Map:
    """A crooked line across the window, a few pixels wide."""
    steps = np.linspace(0.0, 1.0, 6)
    across = np.clip(steps + rng.normal(0.0, 0.08, steps.size), 0.0, 1.0)
    points = np.stack([steps * (columns - 1), across * (rows - 1)], axis=1)
    canvas = np.zeros((rows, columns), dtype=np.uint8)
    thickness = max(1, round(min(rows, columns) * rng.uniform(0.02, 0.06)))
    line = np.rint(points).astype(np.int32)
    cv2.polylines(canvas, [line], isClosed=False, color=1, thickness=thickness)
    return canvas[:: int(rng.choice((-1, 1)))].astype(np.float32)


def _stain(rows: int, columns: int, rng: np.random.Generator) -> Float32Map:
    """A blob that fades towards its ragged edge."""
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    faded = 1.0 - np.hypot(y, x) + 0.4 * _perlin(rows, columns, rng)
    return np.asarray(np.clip(faded / max(float(faded.max()), 1e-6), 0.0, 1.0), dtype=np.float32)


_SHAPES = {"patch": _patch, "scratch": _scratch, "stain": _stain}


def _perlin(rows: int, columns: int, rng: np.random.Generator) -> Float32Map:
    """Gradient noise (Perlin, 1985), float (rows, columns), about -0.7 to 0.7."""
    cells_y, cells_x = (int(rng.integers(*_CELLS)) for _ in range(2))
    angles = rng.uniform(0.0, 2.0 * np.pi, (cells_y + 1, cells_x + 1))
    y, x = (
        np.linspace(0, cells_y, rows, endpoint=False),
        np.linspace(0, cells_x, columns, endpoint=False),
    )
    row, column = y.astype(int)[:, None], x.astype(int)[None, :]
    in_y, in_x = y[:, None] - row, x[None, :] - column

    def corner(down: int, right: int) -> Float32Map:
        angle = angles[row + down, column + right]
        along = np.sin(angle) * (in_y - down) + np.cos(angle) * (in_x - right)
        return np.asarray(along, dtype=np.float32)

    fade_y, fade_x = (t**3 * (t * (t * 6 - 15) + 10) for t in (in_y, in_x))
    upper = corner(0, 0) * (1 - fade_x) + corner(0, 1) * fade_x
    lower = corner(1, 0) * (1 - fade_x) + corner(1, 1) * fade_x
    return np.asarray(upper * (1 - fade_y) + lower * fade_y, dtype=np.float32)
