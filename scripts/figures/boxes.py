"""Boxes and arrows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from scripts.figures import style

Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A box by its centre and size, in hundredths of the figure's width."""

    x: float
    y: float
    width: float
    height: float

    @property
    def left(self) -> Point:
        """Middle of the left side."""
        return self.x - self.width / 2, self.y

    @property
    def right(self) -> Point:
        """Middle of the right side."""
        return self.x + self.width / 2, self.y

    @property
    def top(self) -> Point:
        """Middle of the upper side."""
        return self.x, self.y + self.height / 2

    @property
    def bottom(self) -> Point:
        """Middle of the lower side."""
        return self.x, self.y - self.height / 2


def canvas(height: float) -> tuple[Figure, Axes]:
    """An empty drawing, 100 units wide and in proportion high; ``height`` in inches."""
    drawn = Figure(figsize=(style.WIDTH, height))
    axes = drawn.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 100), ylim=(0, 100 * height / style.WIDTH))
    axes.axis("off")
    return drawn, axes


def box(axes: Axes, place: Box, title: str, text: str = "", color: str = style.ACCENT) -> Box:
    """Draw a box with a bold title and a smaller text."""
    corner = (place.x - place.width / 2, place.y - place.height / 2)
    axes.add_patch(
        FancyBboxPatch(
            corner,
            place.width,
            place.height,
            boxstyle="round,pad=0,rounding_size=1.2",
            facecolor=color + "14",
            edgecolor=color,
            lw=1.3,
        )
    )
    shift = 0.0 if not text else 1.25 + 1.05 * text.count("\n")
    axes.text(
        place.x,
        place.y + shift,
        title,
        ha="center",
        va="center",
        fontsize=10,
        fontweight="bold",
        color=color,
    )
    if text:
        axes.text(
            place.x,
            place.y + shift - 1.6,
            text,
            ha="center",
            va="top",
            fontsize=8.5,
            linespacing=1.25,
        )
    return place


def picture(
    axes: Axes, place: Box, image: npt.NDArray[np.generic], caption: str, cmap: str | None = None
) -> Box:
    """Draw a picture with a caption below."""
    inset = axes.inset_axes(
        (place.x - place.width / 2, place.y - place.height / 2, place.width, place.height),
        transform=axes.transData,
    )
    inset.imshow(image, cmap=cmap)
    inset.axis("off")
    axes.text(
        place.x,
        place.bottom[1] - 1.0,
        caption,
        ha="center",
        va="top",
        fontsize=8.5,
        linespacing=1.2,
    )
    return place


def arrow(
    axes: Axes,
    start: Point,
    end: Point,
    text: str = "",
    color: str = style.NEUTRAL,
    dashed: bool = False,
) -> None:
    """Draw an arrow, its text above the middle."""
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=12,
            lw=1.4,
            color=color,
            shrinkA=2,
            shrinkB=2,
            linestyle="--" if dashed else "-",
        )
    )
    if text:
        middle = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
        axes.text(
            middle[0],
            middle[1] + 0.8,
            text,
            ha="center",
            va="bottom",
            fontsize=8.5,
            color=style.INK,
        )
