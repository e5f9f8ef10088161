"""A deadline for calls into libraries that may hang: a driver, a device, a mounted file system."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from runtime.errors import EngineError

Result = TypeVar("Result")


class Watchdog:
    """Runs calls in threads of its own, and lets go of one that does not come back in time.

    A thread that hangs cannot be ended. It is left behind, keeps no process alive, and ends by
    itself should its call ever return. Handing a call over costs some ten microseconds.
    """

    def __init__(self) -> None:
        # The last one used is used next, so that one caller always has the same thread.
        self._idle: deque[_Worker] = deque()

    def call(self, work: Callable[[], Result], seconds: float) -> Result:
        """What ``work`` returns or raises.

        Raises:
            EngineError: it took longer than ``seconds``.
        """
        try:
            worker = self._idle.pop()
        except IndexError:
            worker = _Worker()
        worker.jobs.put(work)
        try:
            result, error = worker.results.get(timeout=seconds)
        except Empty:
            worker.jobs.put(None)
            raise EngineError(f"no answer within {seconds:g} s") from None
        except BaseException:
            # Interrupted while waiting: whatever comes of this call is nobody's any more.
            worker.jobs.put(None)
            raise
        self._idle.append(worker)
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the threads that are waiting for work."""
        idle = list(self._idle)
        self._idle.clear()
        for worker in idle:
            worker.jobs.put(None)
        for worker in idle:
            worker.thread.join(timeout=1.0)


class _Worker:
    def __init__(self) -> None:
        self.jobs: SimpleQueue[Callable[[], Any] | None] = SimpleQueue()
        self.results: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        self.thread = threading.Thread(target=self._run, name="lineside-inference", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while (work := self.jobs.get()) is not None:
            done: tuple[Any, BaseException | None]
            try:
                done = work(), None
            except BaseException as error:
                done = None, error
            # Nothing of the part is kept until the next one comes.
            del work
            self.results.put(done)
            del done
