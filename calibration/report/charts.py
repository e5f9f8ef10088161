"""Charts as inline SVG: sharp in print, nothing to load, and no text in them that a user wrote."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from runtime.types import Floats, Labels

GOOD_COLOR, ANOMALOUS_COLOR = "#3b6ea5", "#c8551b"  # told apart by colour-blind eyes and in grey
_INK, _GRID = "#444", "#ddd"
_WIDTH, _HEIGHT = 340, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 10, 14, 38
_BINS = 40


class _Axes:
    """Data coordinates to SVG coordinates."""

    def __init__(self, x_range: tuple[float, float], y_range: tuple[float, float]) -> None:
        self._x, self._y = x_range, y_range

    def x(self, value: float) -> float:
        low, high = self._x
        return _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high = self._y
        return _HEIGHT - _BOTTOM - (value - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    def frame(self, x_label: str, y_label: str, y_least: float = 0.0) -> list[str]:
        parts = []
        for tick in ticks(*self._x):
            x = self.x(tick)
            parts.append(_line(x, self.y(self._y[0]), x, self.y(self._y[1]), _GRID))
            parts.append(_text(x, _HEIGHT - _BOTTOM + 14, f"{tick:g}"))
        for tick in ticks(*self._y, least=y_least):
            y = self.y(tick)
            parts.append(_line(self.x(self._x[0]), y, self.x(self._x[1]), y, _GRID))
            parts.append(_text(_LEFT - 5, y + 3.5, f"{tick:g}", anchor="end"))
        middle = (_TOP + _HEIGHT - _BOTTOM) / 2
        parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, x_label))
        parts.append(_text(11, middle, y_label, extra=f' transform="rotate(-90 11 {middle:.1f})"'))
        return parts


def histogram(labels: Labels, scores: Floats, threshold: float) -> str:
    """Raw scores of good and anomalous parts, with the threshold in force.

    Args:
        labels: bool (n,), True for anomalous.
        scores: raw scores (n,).
        threshold: raw score.

    Returns:
        An ``<svg>`` element.
    """
    low, high = min(float(scores.min()), threshold), max(float(scores.max()), threshold)
    margin = (high - low or 1.0) * 0.03
    edges = np.linspace(low - margin, high + margin, _BINS + 1)
    good, anomalous = (np.histogram(scores[chosen], edges)[0] for chosen in (~labels, labels))
    top = max(int(good.max()), int(anomalous.max()), 1)
    axes = _Axes((float(edges[0]), float(edges[-1])), (0.0, top * 1.12))
    parts = axes.frame("raw score", "parts", y_least=1.0)
    for counts, color in ((good, GOOD_COLOR), (anomalous, ANOMALOUS_COLOR)):
        for left, right, count in zip(edges[:-1], edges[1:], counts, strict=True):
            if count:
                x, y = axes.x(float(left)), axes.y(float(count))
                parts.append(
                    f'<rect x="{x:.1f}" y="{y:.1f}" width="{axes.x(float(right)) - x:.1f}" '
                    f'height="{axes.y(0.0) - y:.1f}" fill="{color}" fill-opacity="0.65"/>'
                )
    x = axes.x(threshold)
    parts.append(_line(x, axes.y(0.0), x, _TOP, "#000", dashes="5 3", width=1.6))
    left_side = x > _WIDTH * 0.6
    parts.append(
        _text(
            x + (-5 if left_side else 5),
            _TOP + 8,
            f"threshold {threshold:.4g}",
            anchor="end" if left_side else "start",
        )
    )
    return _svg(parts, "Histogram of raw scores of good and anomalous parts with the threshold")


def curve(
    xs: Floats, ys: Floats, x_label: str, y_label: str, mark: tuple[float, float] | None = None
) -> str:
    """A curve in the unit square.

    Args:
        xs: (k,), in [0, 1].
        ys: (k,), in [0, 1].
        x_label: name of the x axis.
        y_label: name of the y axis.
        mark: the point of the threshold in force, or None.

    Returns:
        An ``<svg>`` element.
    """
    axes = _Axes((0.0, 1.0), (0.0, 1.0))
    parts = axes.frame(x_label, y_label)
    points = " ".join(
        f"{axes.x(float(x)):.1f},{axes.y(float(y)):.1f}" for x, y in zip(xs, ys, strict=True)
    )
    parts.append(
        f'<polyline points="{points}" fill="none" stroke="{GOOD_COLOR}" stroke-width="2"/>'
    )
    if mark is not None and all(math.isfinite(value) for value in mark):
        parts.append(
            f'<circle cx="{axes.x(mark[0]):.1f}" cy="{axes.y(mark[1]):.1f}" r="4.5" '
            f'fill="{ANOMALOUS_COLOR}"/>'
        )
    return _svg(parts, f"{y_label} over {x_label}")


def ticks(low: float, high: float, about: int = 5, least: float = 0.0) -> list[float]:
    """Round values (1, 2 or 5 times a power of ten apart, at least ``least``) inside a range."""
    raw = max((high - low) / about, least)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 12) for n in range(first, math.floor(high / step + 1e-9) + 1)]


def _svg(parts: Sequence[str], label: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{label}" font-family="sans-serif" font-size="11" '
        f'fill="{_INK}">{"".join(parts)}</svg>'
    )


def _line(
    x1: float, y1: float, x2: float, y2: float, color: str, dashes: str = "none", width: float = 1.0
) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}" '
        f'stroke-width="{width:g}" stroke-dasharray="{dashes}"/>'
    )


def _text(x: float, y: float, text: str, anchor: str = "middle", extra: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{extra}>{text}</text>'
