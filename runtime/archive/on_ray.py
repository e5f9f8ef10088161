"""The workers of an archive on Ray: one actor on each core, restarted when it dies.

Ray Core and not Ray Data: a batch's rows come back to one process, which alone writes. So a batch
that was done twice, because its worker died after it, is still written once. Ray Data writes in its
workers, and keeps beside the files a second list of what is done; a crash between the two doubles
rows.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections import deque
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.archive.cluster import connected
from runtime.archive.results import table_of
from runtime.bundle.folder import ARCHIVE_SUFFIX, Bundle, pack_archive
from runtime.engines.base import EngineOptions
from runtime.errors import EngineError, LinesideError
from runtime.inspector import Inspector
from runtime.pipeline import inspect_or_error

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger("lineside")

# A batch is tried so many times more on a new worker before its pictures are tried one by one.
RETRIES = 1
# One in work and one that waits for it, so that no worker waits for this process.
_IN_FLIGHT = 2


class Worker:
    """An inspector in a process of its own.

    Args:
        length: of the descriptor.
        engine: as for :class:`Inspector`.
    """

    def __init__(self, length: int, engine: EngineOptions) -> None:
        import cv2

        cv2.setNumThreads(1)
        self._length, self._engine = length, engine
        self._inspector: Inspector | None = None

    def ready(self, packed: list[Any]) -> int:
        """Open the bundle.

        Args:
            packed: in a list, so that Ray hands on the reference: the content of a packed bundle,
                for workers need not see the bundle's folder.

        Returns:
            Id of this process.
        """
        self._opened(packed)
        return os.getpid()

    def inspect(self, packed: list[Any], paths: list[str]) -> pa.Table:
        """Rows of these pictures, in order."""
        inspector = self._opened(packed)
        found = ((path, inspect_or_error(inspector, Path(path))) for path in paths)
        return table_of(found, self._length)

    def _opened(self, packed: list[Any]) -> Inspector:
        # Not in __init__: Ray would hold what it is given there for a restart, and warns of it.
        if self._inspector is None:
            import ray

            with tempfile.NamedTemporaryFile(suffix=ARCHIVE_SUFFIX) as file:
                file.write(ray.get(packed[0]))
                file.flush()
                self._inspector = Inspector(Path(file.name), **self._engine)
        return self._inspector


def on_ray(
    bundle: Bundle,
    batches: Iterator[list[str]],
    length: int,
    engine: EngineOptions,
    address: str,
    workers: int | None,
) -> Generator[pa.Table | None]:
    """Rows of each batch, in the order in which they are done.

    A batch whose worker dies is tried again. One that kills its workers is taken apart, and the
    picture that does it gets a row that says so.

    Args:
        bundle: an open bundle.
        batches: paths that every worker can read.
        length: of the descriptor.
        engine: as for :class:`Inspector`.
        address: ``local``, ``auto`` or HOST:PORT.
        workers: None for one on each core.

    Yields:
        None when the workers are ready, then the rows of one batch after the other.

    Raises:
        EngineError: Ray does not start or answer, or no worker can open the bundle.
    """
    threads = engine.get("threads") or 1
    options: EngineOptions = {**engine, "threads": threads, "signed_by": None}
    with connected(address, (workers or 0) * threads) as ray:
        number = workers or max(1, int(ray.cluster_resources().get("CPU", 1)) // threads)
        actor = ray.remote(Worker).options(
            num_cpus=threads, max_restarts=-1, max_task_retries=RETRIES
        )
        packed = [ray.put(_packed(bundle))]
        pool = [actor.remote(length, options) for _ in range(number)]
        _wait_for_workers(ray, pool, packed)
        yield None
        free, waiting = deque(pool * _IN_FLIGHT), dict[Any, tuple[Any, list[str]]]()
        alone: deque[list[str]] = deque()
        while True:
            while free and (batch := alone.popleft() if alone else next(batches, None)):
                worker = free.popleft()
                waiting[worker.inspect.remote(packed, batch)] = worker, batch
            if not waiting:
                return
            (done, *_), _ = ray.wait(list(waiting), num_returns=1)
            worker, batch = waiting.pop(done)
            free.append(worker)
            try:
                yield ray.get(done)
            except ray.exceptions.RayError as error:
                if len(batch) > 1:
                    log.warning(
                        f"warning: workers died twice of a batch of {len(batch)} pictures; they "
                        "are tried one by one"
                    )
                    alone.extend([one] for one in batch)
                else:
                    yield table_of([(batch[0], _lost(error))], length)


def _lost(error: Exception) -> LinesideError:
    return EngineError(f"its worker died of it, {RETRIES + 1} times: {type(error).__name__}")


def _packed(bundle: Bundle) -> bytes:
    if bundle.is_packed:
        return bundle.source.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        packed = Path(folder) / f"bundle{ARCHIVE_SUFFIX}"
        pack_archive(bundle.root, packed)
        return packed.read_bytes()


def _wait_for_workers(ray: Any, pool: list[Any], packed: list[Any]) -> None:
    """Wait until each has compiled the model.

    Raises:
        EngineError: one cannot.
    """
    try:
        found = ray.get([one.ready.remote(packed) for one in pool])
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None) or error
        raise EngineError(
            f"ray: expected {len(pool)} workers that open the bundle, found one that cannot: "
            f"{_last_line(cause)}; type: lineside verify BUNDLE"
        ) from error
    log.debug(f"ray: workers {', '.join(map(str, found))}")


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
