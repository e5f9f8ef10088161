"""One look for all figures: white, few colours, readable at 800 pixels."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

GOOD, BAD, ACCENT, NEUTRAL, FAINT, INK = (
    "#2a7f78",
    "#c8403f",
    "#33589b",
    "#8a8f98",
    "#e7e9ed",
    "#22262c",
)
WIDTH = 8.0
# Pages are read over slow lines too.
MAX_BYTES = 250_000
# Pixels an inch and number of colours (0: all), best first: textures compress badly.
ATTEMPTS = ((120, 0), (120, 256), (105, 256), (100, 128))


def apply() -> None:
    """Set matplotlib's defaults; no display is needed."""
    mpl.use("Agg")
    mpl.rcParams.update(
        {
            "font.size": 10.5,
            "axes.titlesize": 11,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.edgecolor": NEUTRAL,
            "axes.labelcolor": INK,
            "text.color": INK,
            "xtick.color": INK,
            "ytick.color": INK,
            "legend.frameon": False,
            "figure.facecolor": "white",
            "savefig.facecolor": "white",
        }
    )


def figure(height: float) -> Figure:
    """An empty figure of the common width.

    Args:
        height: in inches.
    """
    return Figure(figsize=(WIDTH, height), layout="constrained")


def show(
    axes: Axes, image: npt.NDArray[Any], title: str = "", color: str = INK, **options: Any
) -> None:
    """A picture without ticks, its title above."""
    axes.imshow(image, **options)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color(FAINT)
    axes.set_title(title, color=color, loc="center", fontsize=10, fontweight="normal")


def save(drawn: Figure, path: Path) -> Path:
    """Write a PNG at the best of ATTEMPTS that fits into MAX_BYTES.

    Raises:
        ValueError: none does.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for dpi, colors in ATTEMPTS:
        buffer = io.BytesIO()
        drawn.savefig(buffer, format="png", dpi=dpi)
        image = Image.open(buffer).convert("RGB")
        # Median cut would drop the few pixels of a heat map's peak and of coloured titles.
        method = Image.Quantize.MAXCOVERAGE
        kept = image.quantize(colors, method, dither=Image.Dither.NONE) if colors else image
        kept.save(path, optimize=True)
        if path.stat().st_size <= MAX_BYTES:
            return path
    raise ValueError(
        f"{path}: expected at most {MAX_BYTES} bytes, found {path.stat().st_size}; draw less of it"
    )


def thumbnail(image_rgb: npt.NDArray[np.uint8], side: int = 256) -> npt.NDArray[np.uint8]:
    """A picture at the size at which it will be shown."""
    return np.asarray(Image.fromarray(image_rgb).resize((side, side), Image.Resampling.LANCZOS))
