"""``lineside bench``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from runtime.commands.options import engine_options, json_option


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@engine_options
@click.option(
    "--image", type=click.Path(path_type=Path), help="Picture to inspect.  [default: a golden image]"
)
@click.option(
    "--repetitions", type=click.IntRange(min=5), default=100, show_default=True, help="Counted runs."
)
@click.option(
    "--takt-ms", type=float, help="The line's cycle time: say whether the 99th percentile keeps it."
)
@json_option
def command(
    bundle: Path, image: Path | None, repetitions: int, takt_ms: float | None, as_json: bool, **engine: Any
) -> None:
    """Measure latency on this machine: median, tail, stages, cold start and memory.

    \b
    Example:
      lineside bench tile-patchcore
      lineside bench tile-patchcore --engine onnxruntime --takt-ms 50 --json
    """
    from runtime.commands._bench import run

    run(bundle, image, repetitions, takt_ms, engine, as_json=as_json)
