"""``lineside watch``."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runtime.console import emit_json, fault_line, prediction_line, say, say_if_weak
from runtime.options import engine_options, json_option, signature_option

if TYPE_CHECKING:
    from runtime.bundle.thresholds import Threshold
    from runtime.health.drift import Alarm
    from runtime.prediction import Prediction
    from runtime.sources import Arrival
    from runtime.sources.watching import Watched


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@engine_options
@signature_option
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
    help="Keep what the drift test has learned in this file, over a restart.",
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
    """Inspect parts as they come: from a folder that fills up, a video, a camera or an RTSP URL.

    Every frame of a video is inspected; of a camera or stream the newest one, so that verdicts
    never lag behind the line. An edited threshold is in force at the next part. Ctrl-C ends it with
    a summary. Several sources share one model. A folder or camera that goes away is told and tried
    again until it is back. With --once, and of a video, an unreadable picture makes it exit with 1.

    A picture that cannot be judged (out of focus, too dark, ...) says why. When the good parts no
    longer look like the calibrated ones, stderr says what has changed and since when, and with
    --json every line carries it as "drift".

    A golden picture is replayed before the first part and every minute. Where the engine fails,
    hangs or says what cannot be, no part is called good: each line says why, and the engine is
    opened again.

    \b
    Example:
      lineside watch tile-patchcore incoming
      lineside watch tile-patchcore 0 --json --drift-state camera-0.json
      lineside watch tile-patchcore 0 1 2 --threads 4
      lineside watch tile-patchcore rtsp://camera/stream --save-maps flagged
    """
    from runtime.errors import ImageError
    from runtime.sources.watching import watch

    if drift_state is not None and len(sources) > 1:
        raise click.UsageError(
            "--drift-state: expected one SOURCE, found several; each needs a file of its own"
        )
    if save_maps is not None:
        save_maps.mkdir(parents=True, exist_ok=True)
    # Maps of an earlier run stay.
    started = time.strftime("%Y%m%d-%H%M%S")
    counts: Counter[str] = Counter()
    faults = 0
    last: Threshold | None = None
    drifts: dict[str, Alarm | None] = {}
    found = watch(
        bundle, sources, existing=not new_only, once=once, drift_state=drift_state, **engine
    )
    try:
        # Closing it stops the sources and keeps what the drift test has learned.
        with closing(found):
            for seen in found:
                if isinstance(seen.found, ImageError):
                    say(f"skipped: {seen.found}")
                    counts["unreadable"] += 1
                    continue
                counts[seen.found.verdict] += 1
                faults += seen.found.is_fault
                last = seen.found.threshold
                drifts[seen.source] = seen.drift
                # First of all the verdict: the line waits for it.
                _print(seen, seen.found, as_json=as_json)
                if save_maps is not None and seen.found.verdict == "anomalous":
                    stem = f"{started}_{sum(counts.values()) - 1:06d}_{_stem(seen.part)}"
                    seen.found.save_map(save_maps, stem, seen.part.picture)
    except KeyboardInterrupt:
        pass
    _sum_up(sources, counts, faults, drifts)
    say_if_weak(last)
    ends = once or all(Path(source).is_file() for source in sources)
    if ends and (counts["unreadable"] or faults):
        sys.exit(1)


def _sum_up(
    sources: Sequence[str], counts: Counter[str], faults: int, drifts: dict[str, Alarm | None]
) -> None:
    total = ", ".join(f"{number} {verdict}" for verdict, number in sorted(counts.items()))
    from runtime.sources import shown

    say(f"{', '.join(map(shown, sources))}: {total or 'no part'}")
    if faults:
        say(fault_line(faults))
    for alarm in drifts.values():
        if alarm is not None:
            say(alarm.sentence())


def _print(seen: Watched, prediction: Prediction, *, as_json: bool) -> None:
    if as_json:
        drift = None if seen.drift is None else seen.drift.to_json()
        emit_json({"path": seen.part.name, **prediction.to_json(), "drift": drift})
    else:
        click.echo(prediction_line(seen.part.name, prediction))


def _stem(part: Arrival) -> str:
    """The file's name without its suffix, or that of what was watched with the frame's number."""
    if isinstance(part.source, Path):
        return part.source.stem
    name, _, frame = part.name.rpartition("#")
    return f"{Path(name).stem or 'part'}-{frame}"
