"""Tile, leather and grid: a good part, the same part with one defect, and where the defect is."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from export.sample_data import render_part
from scripts.figures import style
from scripts.figures.world import World

SHOWN = (("tile", "crack", 3), ("leather", "color", 5), ("grid", "bent", 1))
SIZE = 512


def draw(_world: World) -> Figure:
    """Three columns of three."""
    drawn = style.figure(8.1)
    axes = drawn.subplots(3, 3)
    for column, (category, defect, seed) in enumerate(SHOWN):
        good, _ = render_part(category, None, np.random.default_rng(seed), SIZE)
        bad, mask = render_part(category, defect, np.random.default_rng(seed), SIZE)
        style.show(axes[0, column], style.thumbnail(good), f"{category}, good", style.GOOD)
        style.show(
            axes[1, column],
            style.thumbnail(bad),
            f"{category}, {defect.replace('_', ' ')}",
            style.BAD,
        )
        style.show(axes[2, column], mask, "ground-truth mask", cmap="gray", interpolation="nearest")
    return drawn
