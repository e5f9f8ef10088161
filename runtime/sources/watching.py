"""Several sources watched at once on one compiled model."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from runtime.engines.base import available_cores
from runtime.errors import ImageError
from runtime.inspector import Inspector
from runtime.pipeline import WINDOW, Feed, inspect_or_error, run_feeds
from runtime.prediction import Prediction
from runtime.sources import Arrival, arrivals

# The source that a part came from, and the part.
Origin = tuple[str, Arrival]


def can_wait(source: str, *, once: bool) -> bool:
    """Whether a source holds its parts until they are asked for: a video file, or a folder read once."""
    return Path(source).is_file() or (once and Path(source).is_dir())


def streams_for(sources: Sequence[str], engine: dict[str, Any], *, once: bool) -> int:
    """Inferences at once: one where a line waits for its verdict, one a core where there is a backlog, else one a source.

    Args:
        sources: what will be watched.
        engine: keyword arguments of :class:`Inspector`; only CPUs take streams, other devices queue
            what they get.
        once: as for :func:`runtime.sources.arrivals`.
    """
    cores = int(engine.get("threads") or available_cores())
    if engine.get("device", "CPU") != "CPU":
        return 1
    if any(can_wait(source, once=once) for source in sources):
        return cores
    return min(len(sources), cores)


def watch_sources(
    inspector: Inspector,
    sources: Sequence[str],
    stop: threading.Event,
    before: Callable[[], None],
    *,
    existing: bool = True,
    once: bool = False,
) -> Iterator[tuple[Origin, Prediction | ImageError]]:
    """Parts of all sources with their source and prediction, each source's in its order.

    A video file or a folder read once is worked off ahead of the consumer, within bounds. A camera,
    a stream or a folder that fills up has one part in flight: what matters there is the newest.

    Args:
        inspector: one compiled model for all.
        sources: folders, video files, camera numbers or URLs.
        stop: set it to end; set at the end.
        before: called before each part is inspected, never twice at once.
        existing: for folders, whether pictures that are there already count.
        once: for folders, end after the pictures that are there.

    Raises:
        SourceError: a source is not there.
        EngineError: the engine fails.
    """
    lock = threading.Lock()

    def work(origin: Origin) -> Prediction | ImageError:
        with lock:
            before()
        return inspect_or_error(inspector, origin[1].source)

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
