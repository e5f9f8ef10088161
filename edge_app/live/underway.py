"""Which parts are being judged, in a file that outlives this process.

A picture that ends the process whatever is done would end it at every start, and no part behind it
would ever be judged. So a part that two processes have ended with is left aside, and said.
"""

from __future__ import annotations

import json
import logging
import mmap
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from runtime.errors import sentence

log = logging.getLogger("lineside")

# Whoever ended with it, may have been killed by something else.
MOST_TRIES = 2
_SLOT_BYTES = 2048
_SLOTS = 4

_Part = tuple[str, int, int]


class Underway:
    """The parts of one source that are in work. Safe in threads.

    Writing is a copy into memory that the system keeps: a crash of the process loses nothing, and
    a power cut no more than a count.

    Args:
        path: the file; made where it is missing.
    """

    def __init__(self, path: Path) -> None:
        self._lock, self._alone = threading.Lock(), threading.Lock()
        self._free = list(range(_SLOTS))
        self._map: mmap.mmap | None = None
        # Of processes that have ended: how often with which part, and where that stands.
        self._tries: dict[_Part, tuple[int, int]] = {}
        try:
            with path.open("a+b") as file:
                file.truncate(_SLOTS * _SLOT_BYTES)
                self._map = mmap.mmap(file.fileno(), _SLOTS * _SLOT_BYTES)
        except OSError as error:
            log.warning(f"warning: {path}: cannot be written: {sentence(error)}")
            return
        for slot in range(_SLOTS):
            self._read(slot, self._map[slot * _SLOT_BYTES : (slot + 1) * _SLOT_BYTES])

    @contextmanager
    def judging(self, name: str, stamp: tuple[int, int]) -> Iterator[bool]:
        """A part is in work while the block runs.

        One that a process has ended with is judged while no other such part is, so that the next
        end is its own.

        Args:
            name: of the part.
            stamp: size and time of its file.

        Yields:
            False where it is better left aside.
        """
        part = (name, *stamp)
        tries, slot = self._tries.pop(part, (0, -1))
        if tries >= MOST_TRIES:
            yield False
            return
        with self._alone if tries else nullcontext():
            taken = self._taken(json.dumps([*part, tries + 1]).encode(), slot)
            try:
                yield True
            finally:
                self._given_back(taken)

    def _taken(self, content: bytes, before: int) -> int | None:
        with self._lock:
            if self._map is None or not self._free:
                return None
            # Where it stood before, so that it never stands twice; not where another one stands.
            others = {place for _, place in self._tries.values()}
            slot = (
                before if before in self._free else min(self._free, key=lambda one: one in others)
            )
            self._free.remove(slot)
            self._write(slot, content)
            return slot

    def _given_back(self, slot: int | None) -> None:
        with self._lock:
            if slot is not None:
                self._write(slot, b"")
                self._free.append(slot)

    def _write(self, slot: int, content: bytes) -> None:
        if self._map is not None and len(content) < _SLOT_BYTES:
            start = slot * _SLOT_BYTES
            self._map[start : start + _SLOT_BYTES] = content.ljust(_SLOT_BYTES, b"\0")

    def _read(self, slot: int, content: bytes) -> None:
        try:
            name, size, written_ns, tries = json.loads(content.rstrip(b"\0"))
            self._tries[str(name), int(size), int(written_ns)] = int(tries), slot
        except (ValueError, TypeError, RecursionError):
            # Nothing, or half of something.
            return
