"""A folder that fills up."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from runtime.errors import SourceError
from runtime.images.preprocess import IMAGE_SUFFIXES
from runtime.sources.arrival import Arrival

log = logging.getLogger("lineside")

POLL_S = 0.2
# A picture that is gone is remembered as long, so that a share which was away is not inspected
# anew, and no longer, so that a year of parts needs no more memory than a day of them.
FORGET_S = 24 * 3600.0


def pictures_of(
    folder: Path, stop: threading.Event, *, existing: bool, once: bool
) -> Iterator[Arrival]:
    """Pictures in a folder, sorted by name, then those that appear or are written anew.

    A file that is still being written is left until its size and time stay the same from one look
    to the next. A folder that cannot be read is told and looked at again.

    Args:
        folder: its sub-folders and hidden files are left aside.
        stop: set it to end the iteration.
        existing: whether pictures that are there already count.
        once: end after the pictures that are there.

    Raises:
        SourceError: the folder cannot be read now.
    """
    first = _look(folder)
    if first is None:
        raise SourceError(
            f"{folder}: expected a folder that can be read, found one that cannot; check its owner"
        )
    known = _Known()
    if not existing:
        known.add(first)
    return _arriving(folder, known, stop, once=once)


def _arriving(
    folder: Path, known: _Known, stop: threading.Event, *, once: bool
) -> Iterator[Arrival]:
    growing: dict[str, tuple[int, int]] = {}
    away = False
    while not stop.is_set():
        start = time.monotonic()
        present = _look(folder)
        took = time.monotonic() - start
        if (present is None) != away:
            away = present is None
            trouble = f"warning: {folder}: cannot be read; trying again until it can"
            log.info(trouble if away else f"{folder}: can be read again")
        if present is not None:
            new = known.new_among(present)
            # One look is enough where nobody is writing.
            ready = [name for name in new if once or growing.get(name) == new[name]]
            growing = {name: stamp for name, stamp in new.items() if name not in ready}
            for name in sorted(ready):
                known.add({name: new[name]})
                yield Arrival(str(folder / name), folder / name)
                if stop.is_set():
                    return
        if once:
            return
        # A folder of very many pictures takes long to look at; that may not take all of a core.
        stop.wait(max(POLL_S, took))


class _Known:
    """Pictures that were handed on, each with its time."""

    def __init__(self) -> None:
        self._written: dict[str, int] = {}
        self._gone_since: dict[str, float] = {}

    def add(self, pictures: dict[str, tuple[int, int]]) -> None:
        self._written |= {name: written for name, (_, written) in pictures.items()}

    def new_among(self, present: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
        """Those that were never handed on, or were written since; forgets what has been gone for long."""
        now = time.monotonic()
        gone = self._written.keys() - present.keys()
        self._gone_since = {name: self._gone_since.get(name, now) for name in gone}
        for name in [name for name, since in self._gone_since.items() if now - since > FORGET_S]:
            del self._written[name], self._gone_since[name]
        return {
            name: stamp for name, stamp in present.items() if self._written.get(name) != stamp[1]
        }


def _look(folder: Path) -> dict[str, tuple[int, int]] | None:
    """Size and time (ns) of each picture by name, or None where the folder cannot be read."""
    found: dict[str, tuple[int, int]] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                stem, dot, suffix = entry.name.rpartition(".")
                if not stem or stem.startswith(".") or dot + suffix.lower() not in IMAGE_SUFFIXES:
                    continue
                try:
                    if entry.is_file():
                        status = entry.stat()
                        found[entry.name] = (status.st_size, status.st_mtime_ns)
                except OSError:
                    continue  # gone again
    except OSError:
        return None
    return found
