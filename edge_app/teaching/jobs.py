"""Work that takes minutes, one piece at a time: a command of Lineside in a process of its own.

What learns a part is no package of the box's server. It is the command ``lineside teach``, which
runs at a lower priority than the line and may be killed without harm.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from runtime.console import LINE_EVERY_VARIABLE
from runtime.errors import LinesideError, TrainingError, sentence

log = logging.getLogger("lineside")

Kind = Literal["", "look", "make", "trial", "remember"]
Say = Callable[[str], None]
_COMMAND = (sys.executable, "-P", "-m", "lineside", "--log-format", "json")
# Lower than the line's own threads.
_NICE = ("nice", "-n", "10")
_PATIENCE_S = 10.0
_LAST_LINES = 5


@dataclass(frozen=True)
class Job:
    """A piece of work as it is now.

    Attributes:
        kind: of work; ``""`` where there was none yet.
        running: whether it is under way.
        said: what it says that it does.
        seconds: since it began.
        failed: why it came to nothing; empty if it did not.
        lines: what it had to say at the end.
    """

    kind: Kind = ""
    running: bool = False
    said: str = ""
    seconds: int = 0
    failed: str = ""
    lines: list[str] = field(default_factory=list)


class Jobs:
    """Runs one piece of work at a time, in a thread. Safe in threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._job = Job()
        self._began = 0.0
        self._thread: threading.Thread | None = None
        self._child: subprocess.Popen[str] | None = None
        self._closed = self._stopped = False

    @property
    def now(self) -> Job:
        """The work as it is now, or the last one."""
        found = self._job
        if not found.running:
            return found
        return replace(found, seconds=round(time.monotonic() - self._began))

    @property
    def ending(self) -> bool:
        """Whether what is under way is to end."""
        return self._closed or self._stopped

    def begin(self, kind: Kind, work: Callable[[Say], Sequence[str]]) -> bool:
        """Begin a piece of work.

        Args:
            kind: of work.
            work: does it; is given what it tells its progress to, and returns what it has to say.

        Returns:
            False where another one is under way.
        """
        with self._lock:
            if self._job.running or self._closed:
                return False
            self._job, self._began = Job(kind, running=True), time.monotonic()
            self._thread = threading.Thread(
                target=self._run, args=(work,), name="lineside-teaching", daemon=True
            )
            self._thread.start()
        return True

    def stop(self, kind: Kind) -> None:
        """End work of a kind, if that is under way: what comes has more haste."""
        with self._lock:
            child, thread = self._child, self._thread
            if not self._job.running or self._job.kind != kind:
                return
            self._stopped = True
        _end(child)
        if thread is not None:
            thread.join(_PATIENCE_S)
        self._stopped = False

    def command(self, *arguments: str, say: Say) -> dict[str, Any]:
        """Run a command of Lineside, within a piece of work.

        Args:
            *arguments: behind ``lineside``.
            say: is told what the command says.

        Returns:
            what it prints with ``--json``.

        Raises:
            TrainingError: it fails, or is ended.
        """
        slow = _NICE if shutil.which(_NICE[0]) else ()
        with self._lock:
            if self._closed or self._stopped:
                raise TrainingError("expected to be let work, found that it is to end; try again")
            self._child = child = subprocess.Popen(
                [*slow, *_COMMAND, *arguments, "--json"],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                errors="replace",
                # A Ctrl-C for the server is not for it: it is ended when the server ends.
                start_new_session=True,
                env={**os.environ, LINE_EVERY_VARIABLE: "1"},
            )
        last: deque[str] = deque(maxlen=_LAST_LINES)
        answer: list[str] = []
        reader = threading.Thread(target=lambda: answer.append(_all_of(child)), daemon=True)
        reader.start()
        for line in child.stderr or ():
            said = _message(line)
            if said:
                last.append(said)
                say(said)
        code = child.wait()
        reader.join(_PATIENCE_S)
        if code:
            why = last[-1] if last else f"it ended with {code}"
            raise TrainingError(why.removeprefix("lineside: "))
        found: dict[str, Any] = json.loads(answer[0])
        return found

    def close(self) -> None:
        """End what is under way; a command leaves nothing half-written."""
        with self._lock:
            self._closed = True
            child, thread = self._child, self._thread
        _end(child)
        if thread is not None:
            thread.join(_PATIENCE_S)

    def _run(self, work: Callable[[Say], Sequence[str]]) -> None:
        failed, lines = "", list[str]()
        try:
            lines = list(work(self._say))
        except LinesideError as error:
            failed = str(error)
        except Exception as error:
            log.exception("teaching")
            failed = sentence(error)
        seconds = round(time.monotonic() - self._began)
        with self._lock:
            self._job = Job(self._job.kind, False, "", seconds, failed, lines)

    def _say(self, text: str) -> None:
        self._job = replace(self._job, said=text)


def _end(child: subprocess.Popen[str] | None) -> None:
    if child is None or child.poll() is not None:
        return
    child.terminate()
    try:
        child.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        child.kill()


def _all_of(child: subprocess.Popen[str]) -> str:
    return "" if child.stdout is None else child.stdout.read()


def _message(line: str) -> str:
    """What a line of the command's log says; the line itself where it is none."""
    try:
        return str(json.loads(line)["message"])
    except (ValueError, TypeError, KeyError):
        return line.strip()
