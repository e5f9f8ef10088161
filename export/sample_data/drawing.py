"""Random fields and small drawing helpers that the materials share."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float32]


def smooth_noise(rng: np.random.Generator, size: int, scale: float) -> Field:
    """Gaussian-filtered white noise with zero mean and unit deviation.

    Args:
        rng: source of randomness.
        size: side in pixels.
        scale: deviation of the filter in pixels, i.e. the size of the blobs.

    Returns:
        float32 (size, size).
    """
    # Coarse noise is drawn small and enlarged: a wide filter on the full picture would cost
    # seconds.
    shrink = max(1, int(scale / 3))
    small = -(-size // shrink) + 8
    field = rng.standard_normal((small, small), dtype=np.float32)
    field = cv2.GaussianBlur(field, (0, 0), max(scale / shrink, 0.3), borderType=cv2.BORDER_REFLECT)
    field = np.asarray(
        cv2.resize(field, (small * shrink, small * shrink), interpolation=cv2.INTER_CUBIC),
        np.float32,
    )
    field = field[:size, :size]
    return np.asarray((field - field.mean()) / (field.std() + 1e-6), dtype=np.float32)


def blob(
    rng: np.random.Generator, size: int, center: tuple[float, float], radius: float, ragged: float
) -> Field:
    """An irregular spot: 1 inside, soft edge, 0 outside.

    Args:
        rng: source of randomness.
        size: side in pixels.
        center: column and row.
        radius: mean radius in pixels.
        ragged: how far the outline strays from a circle, as a share of the radius.
    """
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)
    angle = rng.uniform(0, np.pi)
    stretch = rng.uniform(1.0, 1.7)
    across, down = columns - center[0], rows - center[1]
    along = (across * np.cos(angle) + down * np.sin(angle)) / stretch
    beside = (-across * np.sin(angle) + down * np.cos(angle)) * stretch
    distance = (
        np.sqrt(along**2 + beside**2) / radius
        + ragged * smooth_noise(rng, size, max(radius / 3, 1.0)) * 0.5
    )
    edge = np.clip((distance - 1.0) * max(radius, 4.0) * 0.8, -30.0, 30.0)
    return np.asarray(1.0 / (1.0 + np.exp(edge)), dtype=np.float32)


def wander(
    rng: np.random.Generator, start: tuple[float, float], angle: float, length: float, bend: float
) -> Field:
    """Points of a path that changes direction slowly.

    Args:
        rng: source of randomness.
        start: column and row.
        angle: first direction in radians.
        length: in pixels.
        bend: deviation of the change of direction per step of four pixels, in radians.

    Returns:
        float32 (n, 2), columns and rows.
    """
    steps = max(2, int(length / 4))
    turns = np.cumsum(rng.normal(0, bend, steps)) + angle
    moves = np.stack([np.cos(turns), np.sin(turns)], axis=1) * 4.0
    return np.asarray(
        np.concatenate([[start], np.asarray(start) + np.cumsum(moves, axis=0)]), dtype=np.float32
    )


def draw_path(size: int, path: Field, width: float) -> Field:
    """An antialiased line: 1 on the path, 0 elsewhere, float32 (size, size)."""
    canvas = np.zeros((size, size), np.uint8)
    points = np.round(path * 16).astype(np.int32).reshape(-1, 1, 2)
    cv2.polylines(
        canvas,
        [points],
        isClosed=False,
        color=255,
        thickness=max(1, round(width)),
        lineType=cv2.LINE_AA,
        shift=4,
    )
    return canvas.astype(np.float32) / 255.0


def place(rng: np.random.Generator, size: int, margin: float = 0.2) -> tuple[float, float]:
    """A random position away from the border: column and row in pixels."""
    low, high = margin * size, (1 - margin) * size
    return float(rng.uniform(low, high)), float(rng.uniform(low, high))


def mix(image: Field, color: tuple[float, float, float] | Field, alpha: Field) -> Field:
    """Blend a colour or picture over an image, float32 (H, W, 3) in [0, 1], by an alpha (H, W)."""
    return np.asarray(
        image * (1 - alpha[..., None]) + np.asarray(color, np.float32) * alpha[..., None],
        dtype=np.float32,
    )


def photograph(
    rng: np.random.Generator, scene: Field, *, gradient: float = 0.10
) -> npt.NDArray[np.uint8]:
    """Turn a scene into a picture.

    Args:
        rng: source of randomness.
        scene: float32 (H, W, 3), RGB in [0, 1].
        gradient: how much the light may fall off across the picture.

    Returns:
        uint8 (H, W, 3), RGB.
    """
    size = scene.shape[0]
    rows, columns = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    light = rng.uniform(0.90, 1.08) + rng.uniform(0, gradient) * (
        columns * np.cos(angle) + rows * np.sin(angle)
    )
    warmth = rng.normal(0, 0.012)
    tint = np.array([1 + warmth, 1.0, 1 - warmth], np.float32)
    lit = scene * light[..., None] * tint
    focus = rng.uniform(0.35, 0.8) * size / 512
    lit = cv2.GaussianBlur(lit, (0, 0), focus)
    lit = lit + rng.normal(0, 0.008, scene.shape).astype(np.float32)
    return np.asarray(np.clip(lit * 255.0 + 0.5, 0, 255), dtype=np.uint8)
