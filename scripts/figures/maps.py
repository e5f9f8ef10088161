"""Two defects of very different size: picture, mask, heat map, and each metric's view."""

from __future__ import annotations

import cv2
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from calibration.learning.made_up import PICTURE_FILE
from runtime.images.dataset import load_mask
from runtime.images.preprocess import decode_rgb
from scripts.figures import style
from scripts.figures.world import Judged, World


def draw(world: World) -> Figure:
    """The largest defect that is flagged, the smallest one, and a good part."""
    drawn = style.figure(8.0)
    rows = drawn.subplots(3, 3)
    heats = [one.prediction.heat_map() for one in world.judged]
    low, high = float(np.quantile(np.stack(heats), 0.05)), float(max(heat.max() for heat in heats))
    for axes, one in zip(rows, _shown(world), strict=True):
        kind = one.part.defect_type.replace("_", " ")
        picture = decode_rgb(one.part.path)
        mask = load_mask(one.part, picture.shape[:2])
        score, threshold = one.prediction.pred_score, one.prediction.threshold.image_threshold
        heading = kind if kind == "good" else f"{kind}: {mask.mean():.1%} of the pixels"
        style.show(
            axes[0], style.thumbnail(picture), heading, style.GOOD if kind == "good" else style.BAD
        )
        style.show(axes[1], mask, "truth", cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        sign = ">" if score > threshold else "≤"
        heat = cv2.resize(one.prediction.heat_map(), (256, 256))
        style.show(
            axes[2],
            heat,
            f"heat map; raw score {score:.1f} {sign} {threshold:.1f}",
            vmin=low,
            vmax=high,
            cmap="magma",
        )
    return drawn


def _shown(world: World) -> tuple[Judged, Judged, Judged]:
    bad = [
        one
        for one in world.judged
        if one.part.is_anomalous and one.prediction.verdict == "anomalous"
    ]
    by_size = sorted(bad, key=lambda one: float(load_mask(one.part, (256, 256)).mean()))
    good = [one for one in world.judged if not one.part.is_anomalous]
    usual = sorted(good, key=lambda one: one.prediction.pred_score)[len(good) // 2]
    return by_size[-1], by_size[0], usual


def draw_expected(world: World) -> Figure:
    """What training says to expect: the picture of made-up defects that the bundle holds."""
    picture = Image.open(world.inspector.bundle.root / PICTURE_FILE).convert("RGB")
    drawn = Figure(figsize=(picture.width / 100, picture.height / 100))
    axes = drawn.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.imshow(picture)
    axes.set_axis_off()
    return drawn
