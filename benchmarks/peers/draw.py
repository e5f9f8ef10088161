"""The picture of the growth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.ticker import LogLocator, NullLocator, ScalarFormatter

from benchmarks.peers.growth import BANK, BANKS
from scripts.figures import style

Row = dict[str, Any]
_COLORS = (style.ACCENT, style.GOOD, style.BAD, style.NEUTRAL)


def draw_growth(rows: dict[str, list[Row]], path: Path) -> Path:
    """Latency above, memory below; against bank, input size and cameras."""
    style.apply()
    drawn = style.figure(5.6)
    axes = drawn.subplots(2, 3, sharex="col")
    precisions = list(dict.fromkeys(row["precision"] for row in rows["bank"]))
    for number, precision in enumerate(precisions):
        color = _COLORS[number % len(_COLORS)]
        for column, axis in enumerate(("bank", "side")):
            own = [row for row in rows[axis] if row["precision"] == precision]
            for line, name in enumerate(("p50_ms", "peak_rss_mib")):
                axes[line][column].plot(
                    [r[axis] for r in own],
                    [r[name] for r in own],
                    "o-",
                    color=color,
                    label=precision,
                )
        for shared, marker in ((True, "o-"), (False, "s:")):
            own = [
                r for r in rows["cameras"] if r["precision"] == precision and r["shared"] is shared
            ]
            at = [r["cameras"] for r in own]
            axes[0][2].plot(at, [r["images_per_second"] for r in own], marker, color=color)
            axes[1][2].plot(at, [r["peak_rss_mib"] for r in own], marker, color=color)
    # The colours are those of the other columns; only the lines need words.
    for label, marker in (("one model", "o-"), ("a model each", "s:")):
        axes[1][2].plot([], [], marker, color=style.NEUTRAL, label=label)
    first = next(row for row in rows["bank"] if row["bank"] == BANKS[0])
    _three_times(axes[0][0], first["p50_ms"])
    titles = ("size of the bank", f"input size, bank {BANK:,}", f"cameras, bank {BANK:,}")
    for column, title in enumerate(titles):
        axes[0][column].set_title(title)
        axes[1][column].set_ylabel("peak memory, MiB")
        axes[0][column].set_ylabel("p50, ms" if column < 2 else "images a second")
        axes[column // 2][column].legend(fontsize=8)
        for line in (0, 1):
            if (line, column) != (0, 0):
                axes[line][column].set_ylim(bottom=0)
    # Both logarithmic, so that "three times for ten times" is a straight line.
    for scale in (axes[0][0].set_xscale, axes[0][0].set_yscale):
        scale("log")
    axes[0][0].yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes[0][0].yaxis.set_major_formatter(ScalarFormatter())
    axes[0][0].yaxis.set_minor_locator(NullLocator())
    axes[1][0].set_xlabel("prototypes")
    axes[1][1].set_xlabel("side, pixels")
    axes[1][2].set_xlabel("cameras")
    return style.save(drawn, path)


def _three_times(axis: Any, start: float) -> None:
    """Where latency would be if ten times the bank cost exactly three times as much."""
    at = [BANKS[0], BANKS[0] * 10, BANKS[0] * 100]
    axis.plot(at, [start, 3 * start, 9 * start], "--", color=style.NEUTRAL, label="3x for 10x")
