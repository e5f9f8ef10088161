"""``lineside watch``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from runtime.options import engine_options, json_option


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@engine_options
@click.option(
    "--new-only", is_flag=True, help="For a folder: leave out the pictures that are there already."
)
@click.option("--once", is_flag=True, help="For a folder: stop after the pictures that are there.")
@click.option(
    "--save-maps",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write heat maps of flagged parts.",
)
@click.option(
    "--drift-state",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Keep what the drift test has learnt in this file, over a restart.",
)
@json_option
def command(
    bundle: Path,
    sources: tuple[str, ...],
    new_only: bool,
    once: bool,
    save_maps: Path | None,
    drift_state: Path | None,
    as_json: bool,
    **engine: Any,
) -> None:
    """Inspect parts as they come: pictures that appear in a folder, a video file, a camera or an RTSP URL.

    Every frame of a video is inspected; of a camera or stream the newest one, so that verdicts
    never lag behind the line. An edited threshold is in force at the next part. Ctrl-C ends it with
    a summary. Several sources share one model. A folder or camera that goes away is told and tried
    again until it is back. With --once an unreadable picture makes it exit with 1.

    A picture that cannot be judged (out of focus, too dark, ...) says why. When the good parts no
    longer look like the calibrated ones, stderr says what has changed and since when, and with
    --json every line carries it as "drift".

    \b
    Example:
      lineside watch tile-patchcore incoming
      lineside watch tile-patchcore 0 --json --drift-state camera-0.json
      lineside watch tile-patchcore 0 1 2 --threads 4
      lineside watch tile-patchcore rtsp://camera/stream --save-maps flagged
    """
    from runtime.commands._watch import run

    if drift_state is not None and len(sources) > 1:
        raise click.UsageError(
            "--drift-state: expected one SOURCE, found several; each needs a file of its own"
        )
    counts = run(
        bundle,
        sources,
        engine,
        existing=not new_only,
        once=once,
        save_maps=save_maps,
        drift_state=drift_state,
        as_json=as_json,
    )
    if once and counts["unreadable"]:
        sys.exit(1)
