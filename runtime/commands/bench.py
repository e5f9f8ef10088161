"""``lineside bench``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

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
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Draw the latencies as an SVG file.",
)
@json_option
def command(
    bundle: Path,
    image: Path | None,
    repetitions: int,
    takt_ms: float | None,
    minutes: float | None,
    plot: Path | None,
    as_json: bool,
    **engine: Any,
) -> None:
    """Measure latency on this machine: median, tail, jitter, stages, cold start, memory, and whether it lasts.

    Times run from the file to the verdict, one part at a time. The heat map is drawn only when
    somebody looks, so its time stands apart. Jitter is the standard deviation.

    \b
    Example:
      lineside bench tile-patchcore
      lineside bench tile-patchcore --engine onnxruntime --takt-ms 50 --json
      lineside bench tile-patchcore --minutes 30 --takt-ms 50 --plot latency.svg
    """
    from runtime.commands._bench import Wanted, run

    sys.exit(
        run(bundle, Wanted(image, repetitions, takt_ms, minutes, plot), engine, as_json=as_json)
    )
