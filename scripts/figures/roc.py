"""ROC curves of three scores from useless to good, and the histogram behind the best of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from calibration.metrics import image_auroc, roc_points
from runtime.images.preprocess import load_image
from runtime.types import Floats
from scripts.figures import style
from scripts.figures.world import World

SIZE_HW = (256, 256)


def draw(world: World) -> Figure:
    """Curves on the left, histogram on the right."""
    labels = np.array([one.part.is_anomalous for one in world.judged])
    scores = np.array([one.prediction.pred_score for one in world.judged])
    train = np.stack([_load(path) for path in world.category.train_good])
    tests = [_load(one.part.path) for one in world.judged]
    brightness = np.array([-image.mean() for image in tests])
    drawn = style.figure(3.8)
    left, right = drawn.subplots(1, 2)
    for name, values, color in (
        ("PatchCore", scores, style.ACCENT),
        ("mean and deviation of each pixel", _per_pixel(train, tests), style.GOOD),
        ("how dark the picture is", brightness, style.NEUTRAL),
    ):
        left.plot(
            *roc_points(labels, values),
            color=color,
            lw=2,
            label=f"{name}: {image_auroc(labels, values):.2f}",
        )
    left.plot([0, 1], [0, 1], ls=":", color=style.NEUTRAL, lw=1)
    left.set(
        title="ROC curve, with its area",
        xlabel="good parts flagged",
        ylabel="bad parts flagged",
        aspect="equal",
    )
    left.legend(loc="lower right", fontsize=8.5)

    bins = np.linspace(scores.min(), scores.max(), 24)
    right.hist(scores[~labels], bins=bins, color=style.GOOD, alpha=0.75, label="good")
    right.hist(scores[labels], bins=bins, color=style.BAD, alpha=0.55, label="bad")
    right.set(title="PatchCore's raw scores", xlabel="raw score", ylabel="test parts")
    right.legend()
    return drawn


def _load(path: Path) -> npt.NDArray[np.float32]:
    return load_image(path, SIZE_HW).astype(np.float32)


def _per_pixel(train: npt.NDArray[np.float32], tests: Sequence[npt.NDArray[np.float32]]) -> Floats:
    """The per-pixel model of benchmarks/weak_baseline.py."""
    mean, deviation = train.mean(axis=0), train.std(axis=0) + 4.0
    distances = [np.abs((image - mean) / deviation).mean(axis=2) for image in tests]
    return np.array([cv2.GaussianBlur(distance, (0, 0), 4.0).max() for distance in distances])
