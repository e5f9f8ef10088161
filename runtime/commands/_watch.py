"""The work behind ``lineside watch``."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from runtime.commands._inspect import line_of, save_map
from runtime.console import emit_json, say
from runtime.errors import ImageError
from runtime.health.drift import Alarm
from runtime.health.state import DriftWatch
from runtime.inspector import Inspector
from runtime.prediction import Prediction
from runtime.sources import Arrival, shown
from runtime.sources.watching import streams_for, watch_sources


def run(
    bundle: Path,
    sources: Sequence[str],
    engine: dict[str, Any],
    *,
    existing: bool,
    once: bool,
    save_maps: Path | None,
    drift_state: Path | None,
    as_json: bool,
) -> Counter[str]:
    """Inspect until the sources end or Ctrl-C; a picture that cannot be read is named and skipped.

    Returns:
        Number of parts by verdict, and of ``unreadable`` ones.

    Raises:
        SourceError: there is no such source.
        BundleError: the bundle is unusable, or the file of the drift test is damaged.
    """
    verdicts: Counter[str] = Counter()
    stop = threading.Event()
    title = ", ".join(map(shown, sources))
    # Maps of an earlier run stay.
    started = time.strftime("%Y%m%d-%H%M%S")
    # Each camera drifts on its own.
    drifts = {source: DriftWatch(drift_state) for source in sources}
    with Inspector(bundle, **engine, streams=streams_for(sources, engine, once=once)) as inspector:
        found = watch_sources(
            inspector,
            sources,
            stop,
            lambda: _take_over_edits(inspector),
            existing=existing,
            once=once,
        )
        if save_maps is not None:
            save_maps.mkdir(parents=True, exist_ok=True)
        for drift in drifts.values():
            drift.begin(inspector)
        say(f"watching {title}; Ctrl-C ends it")
        try:
            for (source, part), prediction in found:
                if isinstance(prediction, ImageError):
                    say(f"skipped: {prediction}")
                    verdicts["unreadable"] += 1
                    continue
                verdicts[prediction.verdict] += 1
                where = shown(source) if len(drifts) > 1 else ""
                alarm = _see(drifts[source], inspector, prediction, where)
                # First of all the verdict: the line waits for it.
                _report(part, prediction, alarm, as_json=as_json)
                if save_maps is not None and prediction.verdict == "anomalous":
                    stem = f"{started}_{sum(verdicts.values()) - 1:06d}_{_stem(part)}"
                    save_map(save_maps, stem, prediction)
        except KeyboardInterrupt:
            stop.set()
        finally:
            for drift in drifts.values():
                drift.save()
    total = (
        ", ".join(f"{number} {verdict}" for verdict, number in sorted(verdicts.items()))
        or "no part"
    )
    say(f"{title}: {total}")
    for drift in drifts.values():
        if drift.alarm is not None:
            say(drift.alarm.sentence())
    return verdicts


def _take_over_edits(inspector: Inspector) -> None:
    if inspector.refresh_thresholds():
        in_force = f"threshold: {inspector.threshold.image_threshold:.4g}"
        say(inspector.threshold_problem or in_force)
    if inspector.refresh_health():
        in_force = "off" if inspector.health is None else f"as of {inspector.health.set_at}"
        say(inspector.health_problem or f"check of pictures: {in_force}")


def _see(
    drift: DriftWatch, inspector: Inspector, prediction: Prediction, source: str
) -> Alarm | None:
    before, test = drift.alarm, drift.test
    alarm = drift.see(inspector, prediction)
    where = f"{source}: " if source else ""
    if alarm is not None and before is None:
        say(f"{where}{alarm.sentence()}")
    # Not where the test was switched off or begins anew: that says nothing about the pictures.
    if alarm is None and before is not None and drift.test is test:
        say(f"{where}drift: over; the pictures look like the calibrated good parts again")
    return alarm


def _report(part: Arrival, prediction: Prediction, alarm: Alarm | None, *, as_json: bool) -> None:
    if as_json:
        drift = None if alarm is None else alarm.to_json()
        emit_json({"path": part.name, **prediction.to_json(), "drift": drift})
    else:
        click.echo(line_of(part.name, prediction))


def _stem(part: Arrival) -> str:
    """The file's name without its suffix, or that of the recording, camera or stream with the frame's number."""
    if isinstance(part.source, Path):
        return part.source.stem
    name, _, frame = part.name.rpartition("#")
    return f"{Path(name).stem or 'part'}-{frame}"
