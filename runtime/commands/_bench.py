"""The work behind ``lineside bench``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from runtime import atomic
from runtime.bench.plot import check_plot_path, latency_plot
from runtime.bench.stages import StageTimes, against_takt, summarize, time_stages
from runtime.bench.start import measure_cold_start
from runtime.bench.sustained import THROTTLED, Sustained, run_sustained
from runtime.bundle.folder import Bundle
from runtime.bundle.golden import GOLDEN_FOLDER
from runtime.console import emit_json, say
from runtime.inspector import Inspector


@dataclass(frozen=True)
class Wanted:
    """What to measure.

    Attributes:
        image: picture to inspect, or None for a golden one.
        repetitions: counted runs.
        takt_ms: the line's cycle time, or None.
        minutes: length of a sustained run, or None.
        plot: SVG file to write, or None.
    """

    image: Path | None
    repetitions: int
    takt_ms: float | None
    minutes: float | None
    plot: Path | None


def run(path: Path, wanted: Wanted, engine: dict[str, Any], *, as_json: bool) -> int:
    """Measure and print.

    Returns:
        The exit code: 1 if the takt is not kept, 130 if a sustained run was interrupted.
    """
    if wanted.plot is not None:
        check_plot_path(wanted.plot)
    with Bundle.open(path) as bundle:
        picture = wanted.image or bundle.root / GOLDEN_FOLDER / "0.png"
        with Inspector(bundle, **engine) as inspector:
            times = time_stages(inspector, picture, wanted.repetitions)
        # Twice: the first run may fill the model cache, the second shows a start with a warm one.
        measure_cold_start(bundle.root, picture, engine)
        cold_start_ms, peak_rss_mib = measure_cold_start(bundle.root, picture, engine)
        sustained = _sustain(bundle, picture, wanted, engine)
        manifest = bundle.manifest
    result: dict[str, Any] = {
        "bundle": manifest.name,
        "engine": engine["engine"],
        "precision": engine["precision"],
        "device": engine["device"],
        "input_hw": list(manifest.input.size_hw),
        **{name: round(value, 3) for name, value in summarize(times).items()},
        "cold_start_ms": round(cold_start_ms, 1),
        "peak_rss_mib": None if math.isnan(peak_rss_mib) else round(peak_rss_mib, 1),
    }
    if sustained is not None:
        result["sustained"] = sustained.to_json()
    if wanted.takt_ms is not None:
        # Where there was a sustained run the hot box decides, not the first hundred parts.
        result.update(against_takt((sustained.times if sustained else times).total, wanted.takt_ms))
    if wanted.plot is not None:
        _write_plot(wanted.plot, result, times, sustained)
    if as_json:
        emit_json(result)
    else:
        print_result(result)
    if sustained is not None and sustained.interrupted:
        return 130
    return 0 if result.get("keeps_takt", True) else 1


def _sustain(
    bundle: Bundle, picture: Path, wanted: Wanted, engine: dict[str, Any]
) -> Sustained | None:
    if wanted.minutes is None:
        return None
    with Inspector(bundle, **engine) as inspector:
        say(f"sustained run of {wanted.minutes:g} minutes; Ctrl-C ends it with what was measured")
        return run_sustained(inspector, picture, wanted.minutes * 60.0)


def _write_plot(
    path: Path, result: dict[str, Any], times: StageTimes, sustained: Sustained | None
) -> None:
    name = f"{result['bundle']}, {result['engine']}/{result['precision']}"
    atomic.write_bytes(path, latency_plot(name, times, result.get("takt_ms"), sustained).encode())
    say(f"plot written: {path}")


def print_result(result: dict[str, Any]) -> None:
    """The figures for people."""
    height, width = result["input_hw"]
    lines = [
        f"{result['bundle']}  {result['engine']}/{result['precision']} on {result['device']}, "
        f"{height}x{width}",
        f"  p50 {result['p50_ms']:.2f} ms   p95 {result['p95_ms']:.2f} ms   p99 "
        f"{result['p99_ms']:.2f} ms   "
        f"jitter {result['jitter_ms']:.2f} ms   {result['images_per_second']:.0f} images/s",
        f"  decode {result['decode_p50_ms']:.2f} ms   resize {result['resize_p50_ms']:.2f} ms   "
        f"infer {result['infer_p50_ms']:.2f} ms   (heat map, when somebody looks: "
        f"{result['post_p50_ms']:.2f} ms)",
        f"  cold start {result['cold_start_ms']:.0f} ms   peak memory "
        + (
            "not told here"
            if result["peak_rss_mib"] is None
            else f"{result['peak_rss_mib']:.0f} MiB"
        ),
    ]
    if "sustained" in result:
        lines += _sustained_lines(result["sustained"])
    if "keeps_takt" in result:
        verdict = "PASS" if result["keeps_takt"] else "FAIL"
        lines.append(
            f"  takt {result['takt_ms']:g} ms: {verdict} at the 99th percentile, "
            f"{result['late_share']:.2%} of the parts late"
        )
    click.echo("\n".join(lines))


def _sustained_lines(found: dict[str, Any]) -> list[str]:
    medians = [interval["p50_ms"] for interval in found["intervals"]]
    clocks = [interval["clock_mhz"] for interval in found["intervals"] if interval["clock_mhz"]]
    clock = f"   clock {clocks[0]:.0f} to {clocks[-1]:.0f} MHz" if clocks else ""
    events = (
        "" if found["throttle_events"] is None else f"   throttle events {found['throttle_events']}"
    )
    verdict = "THROTTLES" if found["throttled"] else "steady"
    return [
        f"  sustained {found['seconds']:.0f} s, {found['images']} parts: {verdict}, "
        f"the last fifth {found['drift']:.2f} times the first (more than {THROTTLED:g} counts as "
        "throttling)",
        f"  medians of {len(medians)} intervals: {min(medians):.2f} to {max(medians):.2f} "
        f"ms{clock}{events}",
    ]
