"""Many parts, one after the other or several at once: order kept, memory bounded.

Decoding, resizing, inference and judging of one part run in one thread, those of the next part in another. With as many
streams as cores each inference has one core to itself, which wastes less than sharing every one of them out over all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from runtime.errors import ImageError
from runtime.inspector import Inspector, Source
from runtime.prediction import Prediction

Item = TypeVar("Item")
# Parts in flight for each stream: enough that none waits for work, few enough that memory stays bounded.
WINDOW = 2


def inspect_all(
    inspector: Inspector, items: Iterable[Item], source_of: Callable[[Item], Source]
) -> Iterator[tuple[Item, Prediction | ImageError]]:
    """Inspect parts on the inspector's streams.

    A part is taken from ``items`` only when there is room for it, so a slow consumer holds the producer back.

    Args:
        inspector: opened with ``streams`` for as many parts at once.
        items: what to inspect, in order; consumed in the caller's thread.
        source_of: from an item to what :meth:`Inspector.inspect` takes; called in a worker thread.

    Yields:
        Each item with its prediction, or with the error of a picture that cannot be read, in the order of ``items``.

    Raises:
        EngineError: the engine fails; parts in flight are dropped.
    """

    def work(item: Item) -> Prediction | ImageError:
        try:
            return inspector.inspect(source_of(item))
        except ImageError as error:
            return error

    if inspector.streams == 1:
        yield from ((item, work(item)) for item in items)
        return
    with ThreadPoolExecutor(inspector.streams, thread_name_prefix="lineside") as pool:
        flying: deque[tuple[Item, Future[Prediction | ImageError]]] = deque()
        try:
            for item in items:
                flying.append((item, pool.submit(work, item)))
                if len(flying) >= WINDOW * inspector.streams:
                    first, done = flying.popleft()
                    yield first, done.result()
            while flying:
                first, done = flying.popleft()
                yield first, done.result()
        finally:
            for _, waiting in flying:
                waiting.cancel()
