"""Several sources watched at once on one compiled model, with the drift test of each."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from runtime.engines.base import EngineOptions, available_cores
from runtime.errors import ImageError, SourceError, sentence
from runtime.health.drift import Alarm
from runtime.health.state import DriftWatch
from runtime.inspector import Inspector
from runtime.pipeline import WINDOW, Feed, run_feeds
from runtime.prediction import Prediction
from runtime.sources import Arrival, arrivals, shown

log = logging.getLogger("lineside")

# The source that a part came from, and the part.
_Origin = tuple[str, Arrival]


@dataclass(frozen=True)
class Watched:
    """A part that came, and what was found.

    Attributes:
        source: where it came from, as it was named.
        part: its name and picture.
        found: the prediction, or why the picture cannot be read.
        drift: the drift alarm of this source in force after it, or None.
    """

    source: str
    part: Arrival
    found: Prediction | ImageError
    drift: Alarm | None


def watch(
    bundle: Path | str,
    sources: Sequence[str],
    *,
    existing: bool = True,
    once: bool = False,
    drift_state: Path | None = None,
    **engine: Unpack[EngineOptions],
) -> Generator[Watched]:
    """Inspect parts as they come, until the sources end or the iterator is closed.

    Edits of thresholds.json and health.json are in force at the next part. A video file or a folder
    read once is worked off ahead of the consumer, within bounds. A camera, a stream or a folder
    that fills up has one part in flight: what matters there is the newest.

    Args:
        bundle: path of a bundle.
        sources: folders, video files, camera numbers or URLs; one compiled model serves all.
        existing: for folders, whether pictures that are there already count.
        once: for folders, end after the pictures that are there.
        drift_state: file that keeps what the drift test has learnt over a restart; for one source.
        **engine: as for :class:`Inspector`.

    Yields:
        Every part, each source's in its order.

    Raises:
        SourceError: a source is not there, or several would share one file of the drift test.
        BundleError: the bundle is unusable, or the file of the drift test is damaged.
        EngineError: the engine cannot be opened; one that fails later costs verdicts alone.
    """
    if drift_state is not None and len(sources) > 1:
        raise SourceError(
            "drift_state: expected one source, found several; each needs a file of its own"
        )
    stop = threading.Event()
    # Each camera drifts on its own.
    drifts = {source: DriftWatch(drift_state) for source in sources}
    streams = streams_for(sources, engine, once=once)
    # Of an engine that was handed over, nobody knows whether it is the bundle's.
    canary = isinstance(engine.get("engine", ""), str)
    with Inspector(bundle, **engine, streams=streams, canary=canary) as inspector:
        found = _found(inspector, sources, stop, existing=existing, once=once)
        for drift in drifts.values():
            drift.begin(inspector.health, inspector.variant.key)
        log.info(f"watching {', '.join(map(shown, sources))}; Ctrl-C ends it")
        try:
            # Closed before the engine is.
            with closing(found):
                for (source, part), prediction in found:
                    alarm = None
                    # What a broken engine says is nothing that the line's pictures have done.
                    if isinstance(prediction, Prediction) and not prediction.is_fault:
                        where = f"{shown(source)}: " if len(drifts) > 1 else ""
                        alarm = see_drift(drifts[source], inspector, prediction, where)
                    yield Watched(source, part, prediction, alarm)
        finally:
            stop.set()
            for drift in drifts.values():
                drift.save()


def can_wait(source: str, *, once: bool) -> bool:
    """Whether a source holds its parts until asked: a video file, or a folder read once."""
    return Path(source).is_file() or (once and Path(source).is_dir())


def streams_for(sources: Sequence[str], engine: EngineOptions, *, once: bool) -> int:
    """Inferences at once: one a core where there is a backlog, else one a source.

    Args:
        sources: what will be watched.
        engine: only CPUs take streams, others queue what they get.
        once: as for :func:`runtime.sources.arrivals`.
    """
    cores = engine.get("threads") or available_cores()
    if engine.get("device", "CPU") != "CPU":
        return 1
    if any(can_wait(source, once=once) for source in sources):
        return cores
    return min(len(sources), cores)


def _found(
    inspector: Inspector,
    sources: Sequence[str],
    stop: threading.Event,
    *,
    existing: bool,
    once: bool,
) -> Generator[tuple[_Origin, Prediction | ImageError]]:
    lock = threading.Lock()

    def work(origin: _Origin) -> Prediction | ImageError:
        with lock:
            _take_over_edits(inspector)
        try:
            return inspector.inspect(origin[1].checked())
        except ImageError as error:
            return origin[1].named(error)

    opened = [
        zip(itertools.repeat(source), arrivals(source, stop, existing=existing, once=once))
        for source in sources
    ]
    if len(sources) == 1 and inspector.streams == 1:
        return ((origin, work(origin)) for origin in opened[0])
    window = WINDOW * inspector.streams
    feeds = [
        Feed(parts, window if can_wait(source, once=once) else 1)
        for source, parts in zip(sources, opened, strict=True)
    ]
    return run_feeds(feeds, work, max(inspector.streams, len(sources)), stop)


def _take_over_edits(inspector: Inspector) -> None:
    if inspector.refresh_thresholds():
        in_force = f"threshold: {inspector.threshold.image_threshold:.4g}"
        log.info(inspector.threshold_problem or in_force)
    if inspector.refresh_health():
        in_force = "off" if inspector.health is None else f"as of {inspector.health.set_at}"
        log.info(inspector.health_problem or f"check of pictures: {in_force}")


def see_drift(
    drift: DriftWatch, inspector: Inspector, prediction: Prediction, where: str
) -> Alarm | None:
    """Show a part to the drift test of its source, and log when an alarm begins and ends.

    Args:
        drift: of the source.
        inspector: which has judged the part.
        prediction: of the part.
        where: what the log line begins with, e.g. ``"camera 0: "``.
    """
    before, test = drift.alarm, drift.test
    try:
        alarm = drift.see(
            inspector.health, inspector.variant.key, prediction.statistics, prediction.pred_score
        )
    except Exception as error:
        # A verdict is never lost to what is said beside it.
        log.warning(f"warning: {where}the drift test failed: {sentence(error)}")
        return before
    if alarm is not None and before is None:
        log.info(f"{where}{alarm.sentence()}")
    # Not where the test was switched off or begins anew: that says nothing about the pictures.
    if alarm is None and before is not None and drift.test is test:
        log.info(f"{where}drift: over; the pictures look like the calibrated good parts again")
    return alarm
