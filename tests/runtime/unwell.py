"""The tiny bundle with a check of pictures, and what its camera may do."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from calibration.health import BaselineBuilder
from runtime.health.baseline import HEALTH_FILE, Health, write_health
from runtime.types import UInt8Image
from tests.runtime.tiny import ENGINES, random_image, reference, write_bundle

# Good parts come from a camera of this size.
CAMERA = 64
N_GOOD = 40


def photograph(seed: int, strength: int = 20, side: int = CAMERA) -> UInt8Image:
    """A part as its camera shows it; up to a strength of 60 it is good."""
    return np.kron(random_image(seed, strength), np.ones((side // 32, side // 32, 1), np.uint8))


def tiny_health() -> Health:
    """The baseline of forty good parts."""
    builder = BaselineBuilder()
    scores = []
    for seed in range(N_GOOD):
        builder.add(random_image(seed, 20), (CAMERA, CAMERA))
        scores.append(float(reference(random_image(seed, 20))["pred_score"][0]))
    health = builder.baseline({f"{engine}/fp32": scores for engine in ENGINES})
    if health is None:
        raise RuntimeError("forty pictures make a baseline")
    return health


def write_healthy_bundle(folder: Path) -> Path:
    """The tiny bundle on both engines, with health.json."""
    write_bundle(folder)
    write_health(folder / HEALTH_FILE, tiny_health())
    return folder


FAULTS = {
    "too dark": lambda image: (image * 0.3).astype(np.uint8),
    "too bright": lambda image: np.clip(image * 1.7, 0, 255).astype(np.uint8),
    "hardly any contrast": lambda image: (128 + (image.astype(int) - 128) // 15).astype(np.uint8),
    "out of focus": lambda image: cv2.GaussianBlur(image, (0, 0), 8.0),
    "too much red": lambda image: np.clip(image * np.array([1.25, 1, 0.9]), 0, 255).astype(
        np.uint8
    ),
    "overexposed": lambda image: np.where(np.indices(image.shape)[0] < 20, 255, image).astype(
        np.uint8
    ),
    "wrong shape": lambda image: image[:, : CAMERA // 2 + 4],
    "too small": lambda image: image[::3, ::3],
}
"""What happens to a picture, by what is then wrong with it."""
