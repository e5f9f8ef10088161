"""The picture behind ``lineside bench --plot``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from runtime.bench.stages import StageTimes, summarize
from runtime.bench.sustained import Sustained
from runtime.chart import BLUE, ORANGE, Panel, Series, draw
from runtime.errors import LinesideError

_BINS = 50


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


def latency_plot(
    name: str, times: StageTimes, takt_ms: float | None, sustained: Sustained | None
) -> str:
    """SVG: how the latencies are distributed, and how they went in a sustained run."""
    panels = [_distribution(name, times, takt_ms)]
    if sustained is not None:
        panels.append(_course(sustained, takt_ms))
    return draw(panels)


def _distribution(name: str, times: StageTimes, takt_ms: float | None) -> Panel:
    found = summarize(times)
    # The last bin gathers the tail, so that one hiccup does not squeeze everything else into one
    # bar.
    top = max(found["p99_ms"] * 1.1, found["p50_ms"] * 1.2)
    counts, edges = np.histogram(np.minimum(times.total, top), _BINS)
    marks = [(f"{q} {found[f'{q}_ms']:.2f} ms", found[f"{q}_ms"]) for q in ("p50", "p95", "p99")]
    takt, beyond = _takt(takt_ms, top)
    centers = (edges[:-1] + edges[1:]) / 2
    bars = Series("", centers.tolist(), counts.tolist(), BLUE, "bars")
    title = f"{name}: file to verdict, {len(times.total)} runs{beyond}"
    return Panel(title, "ms", "runs", [bars], marks + takt)


def _takt(takt_ms: float | None, top_ms: float) -> tuple[list[tuple[str, float]], str]:
    """The takt as a line, or as words in the title where a line would squeeze everything else into a corner."""
    if takt_ms is None:
        return [], ""
    text = f"takt {takt_ms:g} ms"
    return ([(text, takt_ms)], "") if takt_ms <= 2 * top_ms else ([], f" ({text})")


def _course(sustained: Sustained, takt_ms: float | None) -> Panel:
    intervals = sustained.intervals
    at = [interval.at_s / 60.0 for interval in intervals]
    series = [
        Series("p99", at, [interval.p99_ms for interval in intervals], ORANGE),
        Series("median", at, [interval.p50_ms for interval in intervals], BLUE),
    ]
    if len(at) == 1:
        series = [Series(one.label, one.xs, one.ys, one.color, "dots") for one in series]
    first = intervals[0].p50_ms
    limits = [("", first)] if len(at) == 1 else [("first median", first)]
    limits += [] if takt_ms is None else [(f"takt {takt_ms:g} ms", takt_ms)]
    title = f"sustained run: {len(sustained.times.total)} parts, the end {sustained.drift:.2f} times the start"
    return Panel(title, "minutes", "ms", series, limits=limits)
