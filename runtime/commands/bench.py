"""``lineside bench``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from runtime.console import emit_json
from runtime.options import FiniteRange, engine_options, json_option


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@engine_options
@click.option(
    "--image",
    type=click.Path(path_type=Path),
    help="Picture to inspect.  [default: a golden image]",
)
@click.option(
    "--repetitions",
    type=click.IntRange(min=5),
    default=100,
    show_default=True,
    help="Counted runs.",
)
@click.option(
    "--takt-ms",
    type=FiniteRange(min=0, min_open=True),
    help="The line's cycle time: pass or fail, by the 99th percentile; a failure exits with 1.",
)
@click.option(
    "--minutes",
    type=FiniteRange(min=0, min_open=True),
    help="A sustained run of so many minutes as well, which shows throttling.",
)
@json_option
def command(
    bundle: Path,
    image: Path | None,
    repetitions: int,
    takt_ms: float | None,
    minutes: float | None,
    as_json: bool,
    **engine: Any,
) -> None:
    """Measure latency on this machine: median, tail, stages, start, memory, and whether it lasts.

    Times run from the file to the verdict, one part at a time. The heat map is drawn only when
    somebody looks, so its time stands apart. Jitter is the standard deviation.

    \b
    Example:
      lineside bench tile-patchcore
      lineside bench tile-patchcore --engine onnxruntime --takt-ms 50 --json
      lineside bench tile-patchcore --minutes 30 --takt-ms 50
    """
    from runtime.bench import measure

    report = measure(
        bundle, image=image, repetitions=repetitions, takt_ms=takt_ms, minutes=minutes, **engine
    )
    if as_json:
        emit_json(report.to_json())
    else:
        click.echo("\n".join(_lines(report.to_json())))
    if report.sustained is not None and report.sustained.interrupted:
        sys.exit(130)
    if report.takt is not None and not report.takt.keeps_takt:
        sys.exit(1)


def _lines(found: dict[str, Any]) -> Iterator[str]:
    height, width = found["input_hw"]
    yield (
        f"{found['bundle']}  {found['engine']}/{found['precision']} on {found['device']}, "
        f"{height}x{width}"
    )
    yield (
        f"  p50 {found['p50_ms']:.2f} ms   p95 {found['p95_ms']:.2f} ms   p99 "
        f"{found['p99_ms']:.2f} ms   jitter {found['jitter_ms']:.2f} ms   "
        f"{found['images_per_second']:.0f} images/s"
    )
    stages = "   ".join(
        f"{stage} {found[f'{stage}_p50_ms']:.2f} ms"
        for stage in ("decode", "resize", "infer", "judge")
    )
    yield f"  {stages}   (heat map, when somebody looks: {found['post_p50_ms']:.2f} ms)"
    memory = found["peak_rss_mib"]
    yield f"  cold start {found['cold_start_ms']:.0f} ms   peak memory " + (
        "not told here" if memory is None else f"{memory:.0f} MiB"
    )
    if "sustained" in found:
        yield from _sustained_lines(found["sustained"])
    if "keeps_takt" in found:
        yield (
            f"  takt {found['takt_ms']:g} ms: {'PASS' if found['keeps_takt'] else 'FAIL'} at the "
            f"99th percentile, {found['late_share']:.2%} of the parts late"
        )


def _sustained_lines(found: dict[str, Any]) -> Iterator[str]:
    medians = [interval["p50_ms"] for interval in found["intervals"]]
    clocks = [interval["clock_mhz"] for interval in found["intervals"] if interval["clock_mhz"]]
    clock = f"   clock {clocks[0]:.0f} to {clocks[-1]:.0f} MHz" if clocks else ""
    events = found["throttle_events"]
    yield (
        f"  sustained {found['seconds']:.0f} s, {found['images']} parts: "
        f"{'THROTTLES' if found['throttled'] else 'steady'}, the last fifth {found['drift']:.2f} "
        "times the first (more than 1.1 counts as throttling)"
    )
    yield (
        f"  medians of {len(medians)} intervals: {min(medians):.2f} to {max(medians):.2f} ms{clock}"
        + ("" if events is None else f"   throttle events {events}")
    )
