"""Many parts, from one source or several: order kept, memory bounded, one compiled model.

Decoding, resizing, inference and judging of one part run in one thread, those of the next part in
another. With as many streams as cores each inference has one core to itself, which wastes less than
sharing every one of them out over all.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Generic, TypeVar, Unpack

from runtime.bundle.folder import Bundle
from runtime.engines.base import EngineOptions, available_cores
from runtime.errors import ImageError
from runtime.images.preprocess import Source
from runtime.inspector import Inspector
from runtime.prediction import Prediction
from runtime.progress import track

Item = TypeVar("Item")
Result = TypeVar("Result")
# Parts in flight for each stream: enough that none waits for work, few enough that memory stays
# bounded.
WINDOW = 2
# Below this many pictures the second stream's start-up costs more than it brings.
MANY = 16
# How long a source that hangs may hold up the end.
_PATIENCE_S = 2.0


@dataclass(frozen=True)
class Feed(Generic[Item]):
    """A source of parts.

    Attributes:
        items: what to inspect, in order; consumed in a thread of its own.
        window: parts that may be taken and not yet handed on; 1 for a camera, whose next frame is
            better than a queue of old ones.
    """

    items: Iterable[Item]
    window: int


def inspect_all(
    inspector: Inspector, items: Iterable[Item], source_of: Callable[[Item], Source]
) -> Generator[tuple[Item, Prediction | ImageError]]:
    """Inspect parts on the inspector's streams.

    A part is taken from ``items`` only when there is room for it, so a slow consumer holds the
    producer back.

    Args:
        inspector: opened with ``streams`` for as many parts at once.
        items: what to inspect, in order.
        source_of: from an item to what :meth:`Inspector.inspect` takes; called in a worker thread.

    Yields:
        Each item with its prediction, or with the error of a picture that cannot be read, in the
        order of ``items``.

    Raises:
        EngineError: an array that is no picture; a failing engine costs verdicts alone.
    """

    def work(item: Item) -> Prediction | ImageError:
        return inspect_or_error(inspector, source_of(item))

    if inspector.streams == 1:
        yield from ((item, work(item)) for item in items)
        return
    yield from run_feeds([Feed(items, WINDOW * inspector.streams)], work, inspector.streams)


def inspect_pictures(
    bundle: Bundle | Path | str, pictures: Sequence[Path], **engine: Unpack[EngineOptions]
) -> Iterator[tuple[Path, Prediction | ImageError]]:
    """Inspect files: one with the lowest latency, many with the most of them per second.

    Args:
        bundle: as for :class:`Inspector`.
        pictures: files.
        **engine: as for :class:`Inspector`.

    Yields:
        Each file with its prediction, or with the error of one that cannot be read, in order.

    Raises:
        BundleError: the bundle is unusable.
        EngineError: the engine is not available; one that fails later costs verdicts alone.
    """
    many = len(pictures) > MANY and engine.get("device", "CPU") == "CPU"
    streams = (engine.get("threads") or available_cores()) if many else 1
    with (
        Inspector(bundle, **engine, streams=streams) as inspector,
        closing(inspect_all(inspector, pictures, lambda path: path)) as found,
    ):
        yield from track(found, "inspecting", len(pictures))


def inspect_or_error(inspector: Inspector, source: Source) -> Prediction | ImageError:
    """A prediction, or the error of a picture that cannot be read."""
    try:
        return inspector.inspect(source)
    except ImageError as error:
        return error


def run_feeds(
    feeds: Sequence[Feed[Item]],
    work: Callable[[Item], Result],
    workers: int,
    stop: threading.Event | None = None,
) -> Generator[tuple[Item, Result]]:
    """Work on the parts of several sources at once.

    Args:
        feeds: the sources; each one's order is kept.
        work: called in a worker thread.
        workers: number of worker threads.
        stop: set at the end, so that a source that waits for its next part ends.

    Yields:
        Each item with its result, as soon as both it and all taken before it are done.

    Raises:
        Exception: whatever ``work`` or a source raises; parts in flight are dropped.
    """
    ending = stop or threading.Event()
    # Each part with what is being made of it and the room that it takes; None at a source's end.
    results: SimpleQueue[
        tuple[Item, Future[Result], threading.Semaphore] | BaseException | None
    ] = SimpleQueue()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="lineside")

    def take(feed: Feed[Item]) -> None:
        free = threading.Semaphore(feed.window)
        try:
            for item in _with_room(feed.items, free, ending):
                results.put((item, pool.submit(work, item), free))
        except BaseException as error:
            if not ending.is_set():
                results.put(error)
        finally:
            results.put(None)

    threads = [
        threading.Thread(target=take, args=(feed,), name="lineside-feed", daemon=True)
        for feed in feeds
    ]
    try:
        for thread in threads:
            thread.start()
        running = len(feeds)
        while running:
            found = results.get()
            if found is None:
                running -= 1
            elif isinstance(found, BaseException):
                raise found
            else:
                item, future, free = found
                yield item, future.result()
                free.release()
    finally:
        ending.set()
        pool.shutdown(wait=True, cancel_futures=True)
        for thread in threads:
            thread.join(timeout=_PATIENCE_S)


def _with_room(
    items: Iterable[Item], free: threading.Semaphore, ending: threading.Event
) -> Iterator[Item]:
    """Items, each taken only when there is room for it, and none once all is ending."""
    iterator = iter(items)
    while not ending.is_set():
        if not free.acquire(timeout=0.1):
            continue
        if ending.is_set():
            return
        try:
            item = next(iterator)
        except StopIteration:
            return
        yield item
