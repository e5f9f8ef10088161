"""Stone tile: pale grey-green ground, dark speckles of two sizes; after MVTec AD's ``tile``."""

from __future__ import annotations

import cv2
import numpy as np

from export.sample_data.drawing import Field, blob, draw_path, mix, place, smooth_noise, wander

GROUND = (0.62, 0.645, 0.615)
SPECKLE = (0.265, 0.275, 0.265)


def good(rng: np.random.Generator, size: int) -> Field:
    """A flawless tile, float32 (size, size, 3), RGB in [0, 1]."""
    unit = size / 512 * rng.uniform(0.92, 1.08)
    ground = (
        np.ones((size, size, 3), np.float32)
        * np.asarray(GROUND, np.float32)
        * rng.uniform(0.97, 1.03)
    )
    ground += (
        0.022 * smooth_noise(rng, size, 9 * unit)[..., None]
        + 0.02 * smooth_noise(rng, size, 1.0)[..., None]
    )
    density = rng.uniform(-0.08, 0.08)
    coarse = smooth_noise(rng, size, 4.0 * unit) + 0.4 * smooth_noise(rng, size, 1.8 * unit)
    fine = smooth_noise(rng, size, 1.5 * unit)
    image = mix(ground, SPECKLE, 0.9 * _soft(coarse, 0.5 + density))
    return mix(image, SPECKLE, 0.6 * _soft(fine, 1.6 + density))


def crack(rng: np.random.Generator, image: Field) -> tuple[Field, Field]:
    """A long dark line, often with a branch, with a pale broken rim."""
    size = image.shape[0]
    angle = rng.uniform(0, 2 * np.pi)
    center = np.array(place(rng, size, 0.35))
    length = rng.uniform(0.35, 1.1) * size
    start = center - np.array([np.cos(angle), np.sin(angle)]) * length / 2
    main = wander(rng, (float(start[0]), float(start[1])), angle, length, 0.10)
    width = rng.uniform(1.6, 5.0) * size / 512
    line = draw_path(size, main, width)
    if rng.random() < 0.6:
        at = main[int(rng.integers(len(main) // 3, 2 * len(main) // 3))]
        turn = angle + rng.choice([-1, 1]) * rng.uniform(0.6, 1.4)
        branch = wander(
            rng, (float(at[0]), float(at[1])), turn, length * rng.uniform(0.2, 0.5), 0.12
        )
        line = np.maximum(line, draw_path(size, branch, width * 0.7))
    rim = np.asarray(cv2.GaussianBlur(line, (0, 0), width * 0.8 + 0.5), np.float32)
    rim = np.asarray(np.clip(rim * 1.6 - line, 0, 1), np.float32)
    cracked = mix(image, (0.66, 0.66, 0.62), 0.55 * rim)
    return mix(cracked, (0.10, 0.10, 0.095), 0.95 * line), np.maximum(line, rim)


def glue_strip(rng: np.random.Generator, image: Field) -> tuple[Field, Field]:
    """A translucent, pale, angular shard with a bright fold."""
    size = image.shape[0]
    center = np.array(place(rng, size, 0.25))
    corners = int(rng.integers(5, 8))
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
    radii = rng.uniform(0.05, 0.13, corners) * size
    turn = rng.uniform(0, np.pi)
    points = np.stack([radii * np.cos(angles) * 1.6, radii * np.sin(angles)], axis=1)
    points = (
        points @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) + center
    )
    canvas = np.zeros((size, size), np.uint8)
    cv2.fillPoly(canvas, [np.round(points * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    shard = np.asarray(canvas.astype(np.float32) / 255, np.float32)
    folds: Field = np.zeros((size, size), np.float32)
    for _ in range(int(rng.integers(1, 4))):
        ends = points[rng.permutation(corners)[:2]].astype(np.float32)
        folds = np.maximum(folds, draw_path(size, ends, 2 * size / 512))
    veil = 0.5 + 0.15 * smooth_noise(rng, size, size / 18)
    strength = rng.uniform(0.7, 1.3)
    covered = mix(image, (0.78, 0.79, 0.77), np.clip(shard * veil * strength, 0, 0.9))
    return mix(covered, (0.92, 0.93, 0.91), 0.5 * folds * shard), shard


def gray_stroke(rng: np.random.Generator, image: Field) -> tuple[Field, Field]:
    """A small dark smudge, as of a pencil rubbed to and fro."""
    size = image.shape[0]
    start = place(rng, size, 0.2)
    angle, length = rng.uniform(0, np.pi), rng.uniform(0.05, 0.13) * size
    smudge = np.zeros((size, size), np.float32)
    for _ in range(int(rng.integers(5, 11))):
        offset = rng.normal(0, 0.011 * size, 2)
        path = wander(
            rng,
            (start[0] + offset[0], start[1] + offset[1]),
            angle + rng.normal(0, 0.15),
            length,
            0.2,
        )
        smudge = np.maximum(smudge, draw_path(size, path, rng.uniform(2, 5) * size / 512))
    smudge = np.asarray(cv2.GaussianBlur(smudge, (0, 0), 1.2 * size / 512 + 0.3), np.float32)
    return mix(image, (0.20, 0.205, 0.215), smudge * rng.uniform(0.85, 1.0)), smudge


def oil(rng: np.random.Generator, image: Field) -> tuple[Field, Field]:
    """A translucent olive drop that darkens the stone, with a thin highlight."""
    size = image.shape[0]
    center = place(rng, size, 0.28)
    drop = blob(rng, size, center, rng.uniform(0.06, 0.13) * size, 0.5)
    strength = rng.uniform(0.6, 1.0)
    stained = image * (1 - drop[..., None] * strength * np.array([0.20, 0.22, 0.62], np.float32))
    edge = np.clip(drop * (1 - drop) * 4, 0, 1) * (smooth_noise(rng, size, size / 14) > 0.9)
    return mix(stained, (0.86, 0.87, 0.70), 0.6 * edge.astype(np.float32)), drop


def rough(rng: np.random.Generator, image: Field) -> tuple[Field, Field]:
    """A patch where the polish is gone: paler, grainy, the speckles washed out."""
    size = image.shape[0]
    patch = blob(rng, size, place(rng, size, 0.25), rng.uniform(0.07, 0.15) * size, 0.9)
    grain = smooth_noise(rng, size, 1.0)[..., None] * 0.07
    blurred = np.asarray(cv2.GaussianBlur(image, (0, 0), 2.2 * size / 512), np.float32)
    worn = 0.45 * blurred + 0.55 * np.asarray(GROUND, np.float32) * 1.12 + grain
    return mix(image, worn, patch * rng.uniform(0.8, 1.0)), patch


def _soft(field: Field, threshold: float) -> Field:
    return np.asarray(1.0 / (1.0 + np.exp(-(field - threshold) * 4.5)), dtype=np.float32)
