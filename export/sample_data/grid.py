"""Expanded-metal grid: dark wavy wires round bright diamonds; after MVTec AD's ``grid``."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from export.sample_data.drawing import Field, blob, draw_path, mix, place, smooth_noise, wander

METAL = (0.27, 0.27, 0.275)


def good(rng: np.random.Generator, size: int) -> Field:
    """A flawless grid, float32 (size, size, 3), grey in [0, 1]."""
    return _render(rng, size)


def bent(rng: np.random.Generator, image: Field) -> tuple[Field, Field]:
    """Wires pushed aside in one to three places; a twisted edge catches the light."""
    mask = np.zeros(image.shape[:2], np.float32)
    for _ in range(int(rng.integers(1, 4))):
        image, region = _bend_once(rng, image)
        mask = np.maximum(mask, region)
    return image, mask


def _bend_once(rng: np.random.Generator, image: Field) -> tuple[Field, Field]:
    size = image.shape[0]
    center = np.array(_on_wire(rng, image))
    reach = rng.uniform(0.05, 0.08) * size
    spread = 0.55 * reach
    angle, push = rng.uniform(0, 2 * np.pi), rng.uniform(0.55, 0.8) * reach
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)
    squared = (columns - center[0]) ** 2 + (rows - center[1]) ** 2
    fall = np.exp(-squared / (2 * spread**2)).astype(np.float32)
    warped = cv2.remap(
        image,
        columns - push * np.float32(np.cos(angle)) * fall,
        rows - push * np.float32(np.sin(angle)) * fall,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
    )
    # Where the wire has gone: the shift at the new place is what brought it there.
    steps = np.linspace(0, push, 200)
    shift = steps[np.argmin(np.abs(steps - push * np.exp(-(steps**2) / (2 * spread**2))))]
    start = center + shift * np.array([np.cos(angle), np.sin(angle)])
    twist = wander(rng, (float(start[0]), float(start[1])), angle + np.pi / 2, 0.35 * reach, 0.25)
    glint = draw_path(size, twist, 2.2 * size / 512) * rng.uniform(0.5, 0.9)
    bent_image = mix(
        np.asarray(warped, np.float32), (0.92, 0.92, 0.93), np.asarray(glint, np.float32)
    )
    changed = np.abs(bent_image - image).max(axis=2)
    return bent_image, _region(changed, (fall > 0.02) | (glint > 0.1))


def broken(rng: np.random.Generator, image: Field) -> tuple[Field, Field]:
    """A piece of wire missing, one loose end bent away."""
    size = image.shape[0]
    center = _on_wire(rng, image)
    gap = blob(rng, size, center, rng.uniform(0.024, 0.042) * size, 0.3)
    light = np.asarray(np.quantile(image, 0.8, axis=(0, 1)), np.float32)
    ground = light * (1 + 0.03 * smooth_noise(rng, size, 2.0)[..., None])
    open_wire = mix(image, ground, gap)
    loose = wander(rng, center, rng.uniform(0, 2 * np.pi), rng.uniform(0.03, 0.06) * size, 0.25)
    end = draw_path(size, loose, 5 * size / 512)
    bright = draw_path(size, loose + np.float32(1.5 * size / 512), 1.5 * size / 512)
    result = mix(mix(open_wire, METAL, 0.9 * end), (0.85, 0.85, 0.86), 0.6 * bright * (1 - end))
    return result, np.maximum(np.maximum(gap, end), bright)


def glue(rng: np.random.Generator, image: Field) -> tuple[Field, Field]:
    """A translucent drop between the wires."""
    size = image.shape[0]
    center, radius = place(rng, size), rng.uniform(0.025, 0.05) * size
    drop = blob(rng, size, center, radius, 0.5)
    rim = np.clip(drop * (1 - drop) * 4, 0, 1)
    milky = 0.45 * np.asarray(cv2.GaussianBlur(image, (0, 0), 3 * size / 512), np.float32) + 0.33
    wet = mix(image, milky, drop * rng.uniform(0.55, 0.85))
    shine = blob(rng, size, (center[0] - radius / 3, center[1] - radius / 3), radius * 0.25, 0.5)
    return mix(mix(wet, (0.2, 0.2, 0.2), 0.35 * rim), (0.97, 0.97, 0.97), 0.8 * shine), np.maximum(
        drop, rim
    )


def metal_contamination(rng: np.random.Generator, image: Field) -> tuple[Field, Field]:
    """A curled chip of metal caught in the grid."""
    size = image.shape[0]
    start = place(rng, size)
    chip = np.zeros((size, size), np.float32)
    glint = np.zeros((size, size), np.float32)
    for _ in range(int(rng.integers(1, 3))):
        path = wander(rng, start, rng.uniform(0, 2 * np.pi), rng.uniform(0.035, 0.08) * size, 0.5)
        chip = np.maximum(chip, draw_path(size, path, rng.uniform(4, 8) * size / 512))
        glint = np.maximum(glint, draw_path(size, path - np.float32(size / 512), 1.5 * size / 512))
    return mix(
        mix(image, (0.12, 0.12, 0.125), 0.95 * chip), (0.9, 0.9, 0.92), 0.75 * glint
    ), np.maximum(chip, glint)


def thread(rng: np.random.Generator, image: Field) -> tuple[Field, Field]:
    """A thin fibre lying across the cells."""
    size = image.shape[0]
    path = wander(
        rng, place(rng, size), rng.uniform(0, 2 * np.pi), rng.uniform(0.15, 0.5) * size, 0.14
    )
    fibre = draw_path(size, path, rng.uniform(1.8, 3.2) * size / 512)
    shade = ((0.88, 0.88, 0.86), (0.14, 0.14, 0.15))[int(rng.integers(2))]
    shadow = draw_path(size, path + np.float32(2.5 * size / 512), 2 * size / 512)
    return mix(mix(image, (0.25, 0.25, 0.25), 0.25 * shadow), shade, 0.9 * fibre), np.maximum(
        fibre, shadow * 0.6
    )


def _render(rng: np.random.Generator, size: int) -> Field:
    unit = size / 512
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)
    turn = rng.normal(0, 0.08)
    pitch = unit * rng.uniform(76, 88)
    slim = rng.uniform(0.28, 0.32)
    shift = rng.uniform(0, 1, 2)
    across = (columns * np.cos(turn) + rows * np.sin(turn)) / pitch + shift[0]
    down = (-columns * np.sin(turn) + rows * np.cos(turn)) / (pitch * slim) + shift[1]
    # Neighbouring wires swing against each other and touch at the knots, which makes the diamonds.
    wire = np.zeros((size, size), np.float32)
    lit = np.zeros((size, size), np.float32)
    for offset in (-1.0, 0.0, 1.0, 2.0):
        line = np.floor(down) + offset
        swing = np.where(np.mod(line, 2) == 0, 1.0, -1.0) * np.cos(across * 2 * np.pi) * 0.42
        distance = (down - (line + swing)) * slim * pitch / unit
        slope = np.sqrt(1 + (0.42 * 2 * np.pi * slim * np.sin(across * 2 * np.pi)) ** 2)
        distance = distance / slope
        wire = np.maximum(wire, 1 / (1 + np.exp((np.abs(distance) - 5.0) * 1.4)))
        lit = np.maximum(lit, np.exp(-(((distance + 2.2) / 1.6) ** 2)))
    floor = 0.66 + 0.012 * smooth_noise(rng, size, 2.0) + 0.02 * smooth_noise(rng, size, size / 8)
    soft = np.asarray(cv2.GaussianBlur(wire.astype(np.float32), (0, 0), 7 * unit), np.float32)
    shaded = floor * (1 - 0.45 * soft)
    image = np.repeat(shaded[..., None], 3, axis=2).astype(np.float32)
    image = mix(image, METAL, (0.93 * wire).astype(np.float32))
    return mix(image, (0.60, 0.60, 0.61), (0.45 * lit * wire).astype(np.float32))


def _on_wire(rng: np.random.Generator, image: Field) -> tuple[float, float]:
    """A random spot on a wire, away from the border."""
    size = image.shape[0]
    gray = image.mean(axis=2)
    inner = slice(int(0.2 * size), int(0.8 * size))
    spots = np.argwhere(gray[inner, inner] < np.quantile(gray, 0.15))
    row, column = spots[int(rng.integers(len(spots)))]
    return float(column + inner.start), float(row + inner.start)


def _region(changed: Field, within: npt.NDArray[np.bool_]) -> Field:
    """Closed outline of what changed visibly."""
    marked = ((changed > 0.06) & within).astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))
    return np.asarray(cv2.morphologyEx(marked, cv2.MORPH_CLOSE, kernel), np.float32)
