"""Small charts as SVG, without a plotting library: the edge box has none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Literal

from runtime.errors import LinesideError

Kind = Literal["line", "dots", "bars"]
# Told apart by colour-blind eyes and in grey.
BLUE, ORANGE, TEAL, GREY = "#33589b", "#c8551b", "#2a7f78", "#8a8f98"
_INK, _GRID = "#22262c", "#e1e4e8"
WIDTH, HEIGHT = 640, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 18, 34, 46


@dataclass(frozen=True)
class Series:
    """Points of one colour.

    Attributes:
        label: its name in the legend; empty for none.
        xs: (n,).
        ys: (n,); for bars their heights, with all bars as wide as the first two are apart.
        color: CSS colour.
        kind: line, dots or bars.
        names: a text beside each point, or nothing.
    """

    label: str
    xs: Sequence[float]
    ys: Sequence[float]
    color: str = BLUE
    kind: Kind = "line"
    names: Sequence[str] = ()


@dataclass(frozen=True)
class Panel:
    """One chart.

    Attributes:
        title: above it.
        x_label: name and unit of the x axis.
        y_label: name and unit of the y axis.
        series: what it shows.
        marks: vertical lines, (label, x).
        limits: horizontal lines, (label, y).
        from_zero: whether the y axis starts at 0.
    """

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    marks: Sequence[tuple[str, float]] = ()
    limits: Sequence[tuple[str, float]] = ()
    from_zero: bool = True


def check_plot_path(path: Path) -> None:
    """Refuse what cannot be written before minutes are spent on measuring.

    Raises:
        LinesideError: another suffix than .svg, or no such folder.
    """
    if path.suffix.lower() != ".svg":
        raise LinesideError(
            f"--plot {path}: expected a file name that ends in .svg, found '{path.suffix}'"
        )
    if not path.absolute().parent.is_dir():
        raise LinesideError(
            f"--plot {path}: expected an existing folder, found none; type: mkdir -p {path.parent}"
        )


def draw(panels: Sequence[Panel]) -> str:
    """Charts below each other as one SVG document.

    Raises:
        ValueError: no panel, or one without a finite point.
    """
    if not panels:
        raise ValueError("chart: expected at least one panel, found none")
    height = HEIGHT * len(panels)
    parts = [
        f'<g transform="translate(0 {HEIGHT * index})">{_panel(panel)}</g>'
        for index, panel in enumerate(panels)
    ]
    title = escape("; ".join(panel.title for panel in panels), quote=True)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" '
        f'role="img" aria-label="{title}" font-family="sans-serif" font-size="12" fill="{_INK}">'
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


def ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Round values (1, 2 or 5 times a power of ten apart) inside a range."""
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)]


class _Scale:
    """Data coordinates to SVG coordinates along one axis."""

    def __init__(
        self, values: Sequence[float], pixels: tuple[float, float], *, from_zero: bool
    ) -> None:
        finite = [value for value in values if math.isfinite(value)]
        if not finite:
            raise ValueError("chart: expected finite points, found none")
        low, high = min(finite), max(finite)
        margin = 0.06 * (high - low) or 0.06 * abs(high) or 1.0
        self.low = 0.0 if from_zero and low >= 0 else low - margin
        self.high = high + margin
        self._pixels = pixels

    def __call__(self, value: float) -> float:
        start, end = self._pixels
        return start + (value - self.low) / (self.high - self.low) * (end - start)


def _panel(panel: Panel) -> str:
    bars = any(series.kind == "bars" for series in panel.series)
    xs = [x for series in panel.series for x in series.xs] + [x for _, x in panel.marks]
    ys = [y for series in panel.series for y in series.ys] + [y for _, y in panel.limits]
    x = _Scale(xs, (_LEFT, WIDTH - _RIGHT), from_zero=False)
    y = _Scale(ys, (HEIGHT - _BOTTOM, _TOP), from_zero=panel.from_zero or bars)
    parts = _frame(panel, x, y)
    for series in panel.series:
        parts += _series(series, x, y)
    for index, (label, value) in enumerate(panel.marks):
        at = x(value)
        left = at > WIDTH * 0.7
        parts.append(_line(at, _TOP, at, HEIGHT - _BOTTOM, _INK, "5 3"))
        parts.append(
            _text(
                at + (-4 if left else 4), _TOP - 4 + 13 * index, label, "end" if left else "start"
            )
        )
    for label, value in panel.limits:
        parts.append(_line(_LEFT, y(value), WIDTH - _RIGHT, y(value), _INK, "5 3"))
        parts.append(_text(WIDTH - _RIGHT, y(value) - 4, label, "end"))
    return "".join(parts + _legend(panel.series))


def _frame(panel: Panel, x: _Scale, y: _Scale) -> list[str]:
    parts = [f'<text x="{_LEFT}" y="18" font-weight="bold">{escape(panel.title)}</text>']
    for tick in ticks(x.low, x.high):
        parts.append(_line(x(tick), _TOP, x(tick), HEIGHT - _BOTTOM, _GRID))
        parts.append(_text(x(tick), HEIGHT - _BOTTOM + 16, f"{tick:g}"))
    for tick in ticks(y.low, y.high, 5):
        parts.append(_line(_LEFT, y(tick), WIDTH - _RIGHT, y(tick), _GRID))
        parts.append(_text(_LEFT - 6, y(tick) + 4, f"{tick:g}", "end"))
    middle = (_TOP + HEIGHT - _BOTTOM) / 2
    parts.append(_text((_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 10, panel.x_label))
    parts.append(
        _text(14, middle, panel.y_label, extra=f' transform="rotate(-90 14 {middle:.1f})"')
    )
    return parts


def _series(series: Series, x: _Scale, y: _Scale) -> list[str]:
    points = [
        (x(a), y(b)) for a, b in zip(series.xs, series.ys, strict=True) if math.isfinite(a + b)
    ]
    parts = []
    if series.kind == "line":
        joined = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        parts.append(
            f'<polyline points="{joined}" fill="none" stroke="{series.color}" stroke-width="2"/>'
        )
    elif series.kind == "dots":
        parts += [
            f'<circle cx="{a:.1f}" cy="{b:.1f}" r="4" fill="{series.color}"/>' for a, b in points
        ]
    else:
        width = abs(points[1][0] - points[0][0]) if len(points) > 1 else 20.0
        parts += [
            f'<rect x="{a - width / 2:.1f}" y="{b:.1f}" width="{width:.1f}" '
            f'height="{y(0.0) - b:.1f}" '
            f'fill="{series.color}" fill-opacity="0.75"/>'
            for a, b in points
        ]
    named = zip(points, series.names, strict=False)
    parts += [_text(a + 7, b + 4, name, "start") for (a, b), name in named if name]
    return parts


def _legend(series: Sequence[Series]) -> list[str]:
    labeled = [one for one in series if one.label]
    parts, right = [], float(WIDTH - _RIGHT)
    for one in reversed(labeled):
        parts.append(_text(right, 18, one.label, "end"))
        right -= 7.0 * len(one.label) + 14
        parts.append(f'<circle cx="{right + 6:.1f}" cy="14" r="4" fill="{one.color}"/>')
        right -= 10
    return parts


def _line(x1: float, y1: float, x2: float, y2: float, color: str, dashes: str = "none") -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}" '
        f'stroke-dasharray="{dashes}"/>'
    )


def _text(x: float, y: float, text: str, anchor: str = "middle", extra: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{extra}>{escape(text)}</text>'
