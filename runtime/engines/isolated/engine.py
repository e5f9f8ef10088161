"""An engine in a process of its own: what ends that process costs one part, never the line.

A driver that crashes, a model that was made to crash it, or the kernel that is out of memory end a
process without asking. Here that is the worker's. The part in work cannot be judged, and
:class:`runtime.engines.supervision.Supervisor` opens another worker. One that hangs is killed.
"""

from __future__ import annotations

import itertools
import logging
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, BinaryIO, cast

from runtime.bundle.manifest import EngineName
from runtime.engines.base import Arrays
from runtime.engines.isolated import frames
from runtime.errors import EngineError, require_extra

log = logging.getLogger("lineside")

# Compiling for a device may take minutes.
_OPENING_S = 300.0
# How long a worker may take to end by itself once nobody wants anything of it.
_ENDING_S = 2.0
# Room in the pipe for a picture or a heat map: one switch between the processes instead of many.
_PIPE_BYTES = 1 << 20

_Answer = tuple[dict[str, Any], Arrays] | EngineError


class IsolatedEngine:
    """An engine in a worker process, an :class:`runtime.engines.base.Engine`.

    Several threads may run it at once, as many as it has streams.

    Args:
        name: as for :func:`runtime.engines.base.open_engine`, like all others.
        model_path: the variant's model file; it is opened in the worker alone.
        device: where it runs.
        threads: CPU threads.
        streams: number of threads that call :meth:`run` at once.

    Raises:
        EngineError: the device is not there, the model cannot be compiled, or the worker ended.
        MissingExtraError: the engine's package is not installed.
    """

    def __init__(
        self,
        name: EngineName,
        model_path: Path,
        device: str = "CPU",
        threads: int | None = None,
        streams: int = 1,
    ) -> None:
        if name == "onnxruntime":
            require_extra(name, name)
        self._process = subprocess.Popen(
            # Without the folder that it is started in: no module is found there.
            [sys.executable, "-P", "-m", "runtime.engines.isolated.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._to, self._from = _pipes(self._process)
        self._numbers = itertools.count()
        self._waiting: dict[int, SimpleQueue[_Answer]] = {}
        self._sending = threading.Lock()
        self._ended: EngineError | None = None
        self._lock = threading.Lock()
        self._reader = threading.Thread(target=self._read, name="lineside-worker", daemon=True)
        self._reader.start()
        try:
            opened, _ = self._ask(
                {
                    "open": name,
                    "model": str(model_path),
                    "device": device,
                    "threads": threads,
                    "streams": streams,
                    "log": log.getEffectiveLevel(),
                },
                seconds=_OPENING_S,
            )
        except BaseException:
            self._kill()
            raise
        self._description: dict[str, Any] = opened["description"]
        self._shapes = {key: tuple(shape) for key, shape in opened["shapes"].items()}

    @property
    def pid(self) -> int:
        """Of the worker."""
        return self._process.pid

    @property
    def description(self) -> dict[str, Any]:
        """Engine, device and library version."""
        return self._description

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Static shapes by tensor name; a dynamic dimension is -1."""
        return self._shapes

    def run(self, inputs: Arrays) -> Arrays:
        """Run the graph once; see :class:`runtime.engines.base.Engine`.

        Raises:
            EngineError: what the engine said, or how its process ended.
        """
        return self._ask({"run": True}, inputs)[1]

    def close(self) -> None:
        """End the worker; one that hangs is killed."""
        with self._lock:
            self._ended = self._ended or EngineError(
                "expected an open engine, found a closed one; open the bundle again"
            )
            in_work = bool(self._waiting)
        if in_work:
            # Before its pipe is closed, which a thread may be waiting to write to.
            self._process.kill()
        with suppress(OSError):
            self._to.close()
        try:
            self._process.wait(_ENDING_S)
        except subprocess.TimeoutExpired:
            self._kill()
        self._reader.join(_ENDING_S)

    def _ask(
        self, message: dict[str, Any], arrays: Arrays | None = None, seconds: float | None = None
    ) -> tuple[dict[str, Any], Arrays]:
        number, answers = next(self._numbers), SimpleQueue[_Answer]()
        with self._lock:
            if self._ended is not None:
                raise self._ended
            self._waiting[number] = answers
        # One that has ended, or was closed meanwhile: how is for the reader to say.
        with suppress(OSError, ValueError), self._sending:
            frames.send(self._to, {**message, "number": number}, arrays)
        try:
            found = answers.get(timeout=seconds)
        except Empty:
            raise EngineError(f"the engine was not open within {seconds:g} s") from None
        finally:
            self._waiting.pop(number, None)
        if isinstance(found, EngineError):
            raise found
        if "error" in found[0]:
            raise EngineError(str(found[0]["error"]))
        return found

    def _read(self) -> None:
        """Hand on what the worker says, until it ends; in a thread of its own."""
        try:
            while True:
                message, arrays = frames.receive(self._from)
                if "log" in message:
                    log.log(message["level"], message["log"])
                elif waiting := self._waiting.get(message["number"]):
                    waiting.put((message, arrays))
        except EOFError:
            ended = EngineError(f"the engine's process ended ({self._how()})")
        except Exception as error:
            self._process.kill()
            ended = EngineError(f"the engine's process said nonsense ({type(error).__name__})")
        with self._lock:
            self._ended = self._ended or ended
            waiting_now = list(self._waiting.values())
        for one in waiting_now:
            one.put(ended)
        self._from.close()

    def _how(self) -> str:
        try:
            code = self._process.wait(_ENDING_S)
        except subprocess.TimeoutExpired:
            return "it speaks no more"
        try:
            return signal.Signals(-code).name if code < 0 else f"exit code {code}"
        except ValueError:
            return f"signal {-code}"

    def _kill(self) -> None:
        self._process.kill()
        self._process.wait()


def _pipes(process: subprocess.Popen[bytes]) -> tuple[BinaryIO, BinaryIO]:
    pipes = cast("tuple[BinaryIO, BinaryIO]", (process.stdin, process.stdout))
    # Elsewhere than on Linux, or with more than a user may have, it only takes longer.
    with suppress(ImportError, AttributeError, OSError):
        import fcntl

        for pipe in pipes:
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return pipes
