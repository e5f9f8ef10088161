"""Procedural scenes: they stand in for ImageNet's pictures in EfficientAD's penalty term."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from export.sample_data.drawing import smooth_noise
from runtime.types import UInt8Image


def random_scene(rng: np.random.Generator, size: int) -> UInt8Image:
    """A picture of nothing in particular: fields, stripes, shapes and grain in layers.

    Args:
        rng: source of randomness.
        size: side in pixels.

    Returns:
        uint8 (size, size, 3), RGB.
    """
    image = _field(rng, size)
    for _ in range(int(rng.integers(1, 4))):
        layer = (_field, _stripes, _grain)[int(rng.integers(3))](rng, size)
        mask = (
            smooth_noise(rng, size, float(rng.uniform(4, size / 4))) > rng.uniform(-0.5, 1.0)
        ).astype(np.float32)
        image = image * (1 - mask[..., None]) + layer * mask[..., None]
    canvas = np.clip(image * 255, 0, 255).astype(np.uint8)
    for _ in range(int(rng.integers(0, 14))):
        _shape(rng, canvas)
    if rng.random() < 0.4:
        canvas = np.asarray(
            cv2.GaussianBlur(canvas, (0, 0), float(rng.uniform(0.5, 2.5))), dtype=np.uint8
        )
    return canvas


def write_scenes(folder: Path, count: int, seed: int, size: int = 256) -> None:
    """Write scenes as PNG files in torchvision's ImageFolder layout, unless they are there.

    Args:
        folder: target; the pictures go to ``folder/scenes/``.
        count: number of pictures.
        seed: of all of them.
        size: side in pixels.
    """
    target = folder / "scenes"
    target.mkdir(parents=True, exist_ok=True)
    for index, sequence in enumerate(np.random.SeedSequence(seed).spawn(count)):
        path = target / f"{index:04d}.png"
        if not path.exists():
            scene = random_scene(np.random.default_rng(sequence), size)
            cv2.imwrite(str(path), scene[:, :, ::-1])


def _field(rng: np.random.Generator, size: int) -> npt.NDArray[np.float32]:
    colors = rng.random((3, 3)).astype(np.float32)
    mixing = smooth_noise(rng, size, float(rng.uniform(2, size / 3)))[..., None]
    fine = smooth_noise(rng, size, float(rng.uniform(1, 6)))[..., None]
    return np.asarray(
        colors[0] + 0.3 * mixing * (colors[1] - 0.5) + 0.12 * fine * (colors[2] - 0.5), np.float32
    )


def _stripes(rng: np.random.Generator, size: int) -> npt.NDArray[np.float32]:
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)
    angle, period = rng.uniform(0, np.pi), rng.uniform(4, size / 3)
    wave = np.sin(
        (columns * np.cos(angle) + rows * np.sin(angle)) * 2 * np.pi / period
        + smooth_noise(rng, size, size / 6)
    )
    if rng.random() < 0.5:
        wave = np.sign(wave)
    first, second = rng.random((2, 3)).astype(np.float32)
    share = (0.5 + 0.5 * wave)[..., None].astype(np.float32)
    return np.asarray(first * share + second * (1 - share), np.float32)


def _grain(rng: np.random.Generator, size: int) -> npt.NDArray[np.float32]:
    spots = smooth_noise(rng, size, float(rng.uniform(0.6, 5))) > rng.uniform(-0.5, 1.2)
    first, second = rng.random((2, 3)).astype(np.float32)
    return np.asarray(np.where(spots[..., None], first, second), np.float32)


def _shape(rng: np.random.Generator, canvas: UInt8Image) -> None:
    size = canvas.shape[0]
    color = tuple(int(value) for value in rng.integers(0, 256, 3))
    x, y, a, b = (int(value) for value in rng.integers(0, size, 4))
    kind = int(rng.integers(4))
    thickness = int(rng.choice([-1, 1, 2, 5]))
    if kind == 0:
        cv2.circle(canvas, (x, y), max(2, a // 6), color, thickness, cv2.LINE_AA)
    elif kind == 1:
        cv2.rectangle(canvas, (x, y), (x + a // 3, y + b // 3), color, thickness, cv2.LINE_AA)
    elif kind == 2:
        cv2.line(canvas, (x, y), (a, b), color, max(1, abs(thickness)), cv2.LINE_AA)
    else:
        points = (np.array([x, y]) + rng.normal(0, size / 8, (int(rng.integers(3, 7)), 2))).astype(
            np.int32
        )
        cv2.fillPoly(canvas, [points], color, cv2.LINE_AA)
