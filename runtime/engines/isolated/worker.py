"""The process of an ``IsolatedEngine`` (:mod:`runtime.engines.isolated.engine`): on two pipes.

It ends when the pipe to it is closed, so it never outlives whoever started it.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from runtime.engines.base import Arrays, Engine, open_engine
from runtime.engines.isolated import frames
from runtime.errors import sentence


class _Told(logging.Handler):
    """What is logged here is told on the other side."""

    def __init__(self, answer: _Answers) -> None:
        super().__init__()
        self._answer = answer

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a record on."""
        self._answer({"log": record.getMessage(), "level": record.levelno})


class _Answers:
    """The pipe back, for several threads."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._lock = stream, threading.Lock()

    def __call__(self, message: dict[str, Any], arrays: Arrays | None = None) -> None:
        """Send a message."""
        with self._lock:
            frames.send(self._stream, message, arrays)


def main() -> None:
    """Serve one engine until nobody wants anything any more."""
    # Ctrl-C and systemd's stop reach a whole group; whoever has parts in work says when to end.
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, signal.SIG_IGN)
    answer = _Answers(os.fdopen(os.dup(1), "wb"))
    # What a library prints goes where messages to people go, not into the pipe.
    os.dup2(2, 1)
    requests: BinaryIO = os.fdopen(os.dup(0), "rb")
    try:
        asked, _ = frames.receive(requests)
        logger = logging.getLogger("lineside")
        logger.setLevel(asked["log"])
        logger.propagate = False
        logger.addHandler(_Told(answer))
        engine = _opened(asked, answer)
        if engine is not None:
            _serve(engine, requests, answer, asked["streams"])
    except (EOFError, OSError):
        pass
    finally:
        # At once, even where a thread hangs inside a library.
        os._exit(0)


def _opened(asked: dict[str, Any], answer: _Answers) -> Engine | None:
    try:
        engine = open_engine(
            asked["open"],
            Path(asked["model"]),
            asked["device"],
            asked["threads"],
            asked["streams"],
        )
        described = {"description": engine.description, "shapes": getattr(engine, "shapes", {})}
    except Exception as error:
        answer({"number": asked["number"], "error": sentence(error)})
        return None
    answer({"number": asked["number"], **described})
    return engine


def _serve(engine: Engine, requests: BinaryIO, answer: _Answers, streams: int) -> None:
    # Always the same thread where there is one stream: an engine has a request for each thread.
    pool = ThreadPoolExecutor(streams, thread_name_prefix="lineside")
    while True:
        message, arrays = frames.receive(requests)
        pool.submit(partial(_run, engine, message["number"], arrays, answer))


def _run(engine: Engine, number: int, inputs: Arrays, answer: _Answers) -> None:
    try:
        answer({"number": number}, engine.run(inputs))
    except OSError:
        # Nobody listens: the other side is gone.
        os._exit(0)
    except BaseException as error:
        answer({"number": number, "error": sentence(error)})


if __name__ == "__main__":
    main()
