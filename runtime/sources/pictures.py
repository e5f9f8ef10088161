"""A folder that fills up, and what a part is called on its way to the inspector."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import ImageError, SourceError
from runtime.images.dataset import pictures_below
from runtime.images.preprocess import Source

log = logging.getLogger("lineside")

POLL_S = 0.2
# A picture that is gone is remembered as long, so that a share which was away is not inspected
# anew, and no longer, so that a year of parts needs no more memory than a day of them.
FORGET_S = 24 * 3600.0
_LOGIN = re.compile(r"(?<=://)[^/?#]*@")

# Size in bytes and time of writing in ns, by path.
Stamps = dict[str, tuple[int, int]]


@dataclass(frozen=True)
class Arrival:
    """One part to inspect.

    Attributes:
        name: the file's path, or ``SOURCE#frame``, without a password.
        source: what :meth:`runtime.inspector.Inspector.inspect` takes.
        fault: why it cannot be judged, where the source knows; empty if it does not.
    """

    name: str
    source: Source
    fault: str = ""

    def checked(self) -> Source:
        """The picture.

        Raises:
            ImageError: the source knows that it cannot be judged.
        """
        if self.fault:
            raise ImageError(self.fault)
        return self.source


def shown(source: str) -> str:
    """A source as it may be printed and logged: a URL without its user name and password."""
    return _LOGIN.sub("", source)


def pictures_of(
    folder: Path,
    stop: threading.Event,
    *,
    existing: bool,
    once: bool,
    away: Callable[[str], None] = lambda why: None,
) -> Iterator[Arrival]:
    """Pictures in a folder and all below it, sorted, then those that appear or are written anew.

    A file that is still being written is left until its size and time stay the same from one look
    to the next. A folder that cannot be read is told and looked at again.

    Args:
        folder: its hidden files are left aside; a sub-folder may appear later.
        stop: set it to end the iteration.
        existing: whether pictures that are there already count.
        once: end after the pictures that are there.
        away: see :func:`runtime.sources.arrivals`.

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
    return _arriving(folder, known, stop, away, once=once)


def _arriving(
    folder: Path,
    known: _Known,
    stop: threading.Event,
    away: Callable[[str], None],
    *,
    once: bool,
) -> Iterator[Arrival]:
    growing: Stamps = {}
    gone = False
    while not stop.is_set():
        start = time.monotonic()
        present = _look(folder)
        took = time.monotonic() - start
        if (present is None) != gone:
            gone = present is None
            trouble = f"warning: {folder}: cannot be read; trying again until it can"
            log.info(trouble if gone else f"{folder}: can be read again")
            away("the folder cannot be read; check the share" if gone else "")
        if present is not None:
            new = known.new_among(present)
            # One look is enough where nobody is writing.
            ready = [path for path in new if once or growing.get(path) == new[path]]
            growing = {path: stamp for path, stamp in new.items() if path not in ready}
            for path in sorted(ready):
                known.add({path: new[path]})
                yield Arrival(path, Path(path))
                if stop.is_set():
                    return
        if once:
            return
        # A folder of very many pictures takes long to look at; that may not take all of a core.
        stop.wait(max(POLL_S, took))


class _Known:
    """Pictures that were handed on, each with its size and time."""

    def __init__(self) -> None:
        self._written: Stamps = {}
        self._gone_since: dict[str, float] = {}

    def add(self, pictures: Stamps) -> None:
        self._written |= pictures

    def new_among(self, present: Stamps) -> Stamps:
        """Those never handed on, or written since; forgets what has been gone for long."""
        now = time.monotonic()
        gone = self._written.keys() - present.keys()
        self._gone_since = {path: self._gone_since.get(path, now) for path in gone}
        for path in [path for path, since in self._gone_since.items() if now - since > FORGET_S]:
            del self._written[path], self._gone_since[path]
        # A camera, a copy or a clock that stands may write a picture over within the same time.
        return {path: stamp for path, stamp in present.items() if self._written.get(path) != stamp}


def _look(folder: Path) -> Stamps | None:
    """The pictures that are there, or None where the folder cannot be read."""
    found: Stamps = {}
    try:
        for entry in pictures_below(folder):
            try:
                status = entry.stat()
            except OSError:
                continue  # gone again
            found[entry.path] = (status.st_size, status.st_mtime_ns)
    except OSError:
        return None
    return found
