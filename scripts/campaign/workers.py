"""Processes that write and say what was acknowledged, to be killed, starved and doubled."""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from edge_app import line
from edge_app.line import Line, open_memory
from edge_app.live.board import Board
from edge_app.live.feeding import feeding
from edge_app.live.settings import Source
from edge_app.page.choice import Station
from edge_app.records import Arrival, Database, Journal
from runtime import atomic
from runtime.errors import StoreError
from runtime.inspector import Inspector
from runtime.types import UInt8Image

BUNDLE = "0123456789abcdef" * 4
_PATIENCE_S = 60.0
TIME = "2026-01-01T00:00:00.000000+00:00"


def arrival(name: str) -> Arrival:
    """One with nothing but a name."""
    return Arrival("press", name, 9, 9, BUNDLE, "", TIME, "anomalous", 2.0, 0.9, 1.0)


class Worker:
    """A forked process, and what it has acknowledged: lines on a pipe.

    Args:
        work: yields a line after each thing done.
        file_limit: bytes that a file may have, which is how a full disk looks; None for no limit.
    """

    def __init__(self, work: Callable[[], Iterator[str]], file_limit: int | None = None) -> None:
        self._read, write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._read)
            self._run(work, write, file_limit)
        os.close(write)

    @staticmethod
    def _run(work: Callable[[], Iterator[str]], write: int, file_limit: int | None) -> None:
        code = 1
        try:
            if file_limit is not None:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
            for line in work():
                os.write(write, f"{line}\n".encode())
            code = 0
        except (StoreError, OSError):
            # Said in a sentence of ours: what a full disk deserves.
            code = 3
        finally:
            os._exit(code)

    def wait_for(self, count: int) -> list[str]:
        """So many lines, or fewer where it ends before."""
        found = b""
        while found.count(b"\n") < count and (more := os.read(self._read, 1)):
            found += more
        return found.decode().splitlines()

    def end(self, kill: bool = True) -> tuple[list[str], int]:
        """Kill it, or wait for its end; the whole lines that are left, and its exit status."""
        if kill:
            os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        rest = b""
        while more := os.read(self._read, 65536):
            rest += more
        os.close(self._read)
        return rest.decode().splitlines(), status


def adding(folder: Path, prefix: str, most: int = 1_000_000) -> Callable[[], Iterator[str]]:
    """Adds arrivals to a journal."""

    def work() -> Iterator[str]:
        database = Database(folder)
        journal = Journal(database)
        for index in range(most):
            journal.add(arrival(f"{prefix}{index}"))
            yield f"{prefix}{index}"

    return work


def installing(source: Path, target: Path) -> Callable[[], Iterator[str]]:
    """Installs a bundle over itself."""

    def work() -> Iterator[str]:
        for index in range(1_000_000):
            with atomic.folder(target) as building:
                shutil.copytree(source, building, dirs_exist_ok=True)
            yield str(index)

    return work


def watching(
    bundle: Path, folder: Path, names: list[str], poison: str
) -> Callable[[], Iterator[str]]:
    """A station's source that judges a folder until all is judged, unless a picture ends it."""

    def work() -> Iterator[str]:
        incoming = folder / "in"
        for number, name in enumerate(names):
            if not (incoming / name).exists():
                incoming.mkdir(parents=True, exist_ok=True)
                image = np.random.default_rng(number).integers(118, 138, (64, 64, 3), np.uint8)
                cv2.imwrite(str(incoming / name), image)
        deadly, decode = (incoming / poison).read_bytes(), line.decode_rgb

        def decoded(content: bytes) -> UInt8Image:
            if content == deadly:
                # In this very thread: of a signal that is sent, another one may be told, and this
                # one goes on until that has its turn.
                ctypes.string_at(0)
            return decode(content)

        line.decode_rgb = decoded
        source = Source("press", str(incoming), bundle.name)
        database = Database(folder)
        board = Board([source], Journal(database))
        with Inspector(bundle) as inspector, open_memory(inspector, str(folder)) as memory:
            station = Station({"": Line(inspector, memory, bundle.name)})
            with feeding(station, board, folder):
                end = time.monotonic() + _PATIENCE_S
                while len(board.journal.newest(100)) < len(names) and time.monotonic() < end:
                    time.sleep(0.01)
        database.close()
        yield "done"

    return work


def file_of(name: str) -> str:
    """An arrival's name without its folder."""
    return Path(name).name


def names_in(folder: Path, verdict: str = "") -> list[str]:
    """Names of the arrivals that a journal holds, in its order; those of a verdict, or all."""
    database = Database(folder)
    try:
        journal = Journal(database)
        found: list[str] = []
        last = 0
        while some := journal.after(last, 1000):
            found += [one.name for one in some if verdict in ("", one.verdict)]
            last = some[-1].number
        return found
    finally:
        database.close()
