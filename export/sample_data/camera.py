"""What the camera adds to every part alike: light, focus, sensor noise."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from export.sample_data.noise import Field


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
