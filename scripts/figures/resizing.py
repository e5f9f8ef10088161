"""Parts shrunk with and without antialiasing, and how far their scores move."""

from __future__ import annotations

import cv2
import numpy as np
from matplotlib.figure import Figure

from export.sample_data import DEFECTS
from runtime.images.preprocess import resize
from runtime.types import UInt8Image
from scripts.figures import style
from scripts.figures.world import CATEGORY, World

PHOTOGRAPH = 1024
GOOD_PARTS = 15
SIZE_HW = (256, 256)


def draw(world: World) -> Figure:
    """Two crops and the two scores of each part."""
    kinds = [*[None] * GOOD_PARTS, *(defect for defect in DEFECTS[CATEGORY] for _ in range(3))]
    photographs = [world.extra(number, kind, PHOTOGRAPH) for number, kind in enumerate(kinds)]
    shared = np.array([_score(world, resize(image, SIZE_HW)) for image in photographs])
    aliased = np.array([_score(world, without_antialiasing(image)) for image in photographs])
    bad = np.array([kind is not None for kind in kinds])
    drawn = style.figure(3.9)
    crops, right = drawn.subfigures(1, 2, width_ratios=(1, 2))
    for axes, shrink, title in zip(
        crops.subplots(2, 1),
        (resize_area, without_antialiasing),
        ("with antialiasing", "without"),
        strict=True,
    ):
        style.show(axes, shrink(photographs[0])[40:80, 40:80], title, interpolation="nearest")
    axes = right.subplots()
    for mask, color, label in ((~bad, style.GOOD, "good"), (bad, style.BAD, "bad")):
        axes.scatter(shared[mask], (aliased - shared)[mask], color=color, s=26, label=label)
    axes.axhline(0, color=style.NEUTRAL, lw=1)
    largest, spread = float(np.abs(aliased - shared).max()), float(np.ptp(shared))
    axes.set(
        title=f"Score drift: at most {largest:.2f}, {largest / spread:.0%} of the range",
        xlabel="raw score, resized with antialiasing",
        ylabel="raw score without, minus with",
    )
    axes.legend()
    return drawn


def resize_area(image: UInt8Image) -> UInt8Image:
    """The runtime's own resize, to the model's size."""
    return resize(image, SIZE_HW)


def without_antialiasing(image: UInt8Image) -> UInt8Image:
    """Bilinear interpolation alone: of each 4 x 4 block only the middle four pixels count."""
    return np.asarray(
        cv2.resize(image, SIZE_HW[::-1], interpolation=cv2.INTER_LINEAR), dtype=np.uint8
    )


def _score(world: World, image: UInt8Image) -> float:
    return world.inspector.infer(image).pred_score
