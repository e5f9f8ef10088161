"""A folder that fills up: looked at again and again, beside what the system tells of it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from runtime.errors import SourceError
from runtime.images.dataset import pictures_below
from runtime.sources.events import FolderEvents, Written
from runtime.sources.inotify import why_not_told
from runtime.sources.pictures import Arrival

log = logging.getLogger("lineside")

POLL_S = 0.2
# A picture that is gone is remembered as long, so that a share which was away is not inspected
# anew, and no longer, so that a year of parts needs no more memory than a day of them.
FORGET_S = 24 * 3600.0

# Size in bytes and time of writing in ns, by path.
Stamps = dict[str, tuple[int, int]]


def pictures_of(
    folder: Path,
    stop: threading.Event,
    *,
    existing: bool,
    once: bool,
    away: Callable[[str], None] = lambda why: None,
) -> Iterator[Arrival]:
    """Pictures in a folder and all below it, sorted, then those that appear or are written anew.

    The system's events tell when a file is whole, and its bytes are taken at once. Beside that the
    folder is looked at, for the system does not tell what others write to a share. What a look
    finds is left until its size and time stay the same to the next, and while somebody writes it.
    A folder that cannot be read is told and looked at again.

    Args:
        folder: its hidden files are left aside; a sub-folder may appear later.
        stop: set it to end the iteration.
        existing: whether pictures that are there already count.
        once: end after the pictures that are there.
        away: see :func:`runtime.sources.arrivals`.

    Raises:
        SourceError: the folder cannot be read now.
    """
    filling = _Filling(folder, stop, away, None if once else _events_of(folder))
    first = filling.look()
    if first is None:
        filling.close()
        raise SourceError(
            f"{folder}: expected a folder that can be read, found one that cannot; check its owner"
        )
    if not existing:
        filling.known.add(first)
    return filling.arrivals(once=once)


def _events_of(folder: Path) -> FolderEvents | None:
    """The system's events; None where it has none. Of a share they tell a part."""
    if why := why_not_told(folder):
        log.info(
            f"{folder}: looked at every {POLL_S} s ({why}); a file that lives less than "
            f"{2 * POLL_S} s may be missed"
        )
    try:
        return FolderEvents()
    except OSError:
        return None


class _Filling:
    """A folder, with what was handed on of it."""

    def __init__(
        self,
        folder: Path,
        stop: threading.Event,
        away: Callable[[str], None],
        events: FolderEvents | None,
    ) -> None:
        self.known = _Known()
        self._folder, self._stop, self._away, self._events = folder, stop, away, events
        self._growing: Stamps = {}
        self._is_gone = False

    def arrivals(self, *, once: bool) -> Iterator[Arrival]:
        """Until it is stopped; or once."""
        try:
            while not self._stop.is_set():
                start = time.monotonic()
                present = self.look()
                # A folder of very many pictures takes long to look at; that may not take all of a
                # core.
                pause = max(POLL_S, time.monotonic() - start)
                self._tell(present is None)
                yield from self._told(0.0)
                if present is not None:
                    yield from self._whole(present, once=once)
                if once:
                    return
                yield from self._told(pause)
        finally:
            self.close()

    def look(self) -> Stamps | None:
        """The pictures that are there, or None where the folder cannot be read."""
        found: Stamps = {}
        folders: list[str] = []
        try:
            for entry in pictures_below(self._folder, entering=folders.append):
                try:
                    status = entry.stat()
                except OSError:
                    continue  # gone again
                found[entry.path] = (status.st_size, status.st_mtime_ns)
        except OSError:
            return None
        finally:
            if self._events is not None:
                self._events.watch(folders)
        return found

    def close(self) -> None:
        """Give the system's events back."""
        if self._events is not None:
            self._events.close()

    def _tell(self, is_gone: bool) -> None:
        if is_gone == self._is_gone:
            return
        self._is_gone = is_gone
        trouble = f"warning: {self._folder}: cannot be read; trying again until it can"
        log.info(trouble if is_gone else f"{self._folder}: can be read again")
        self._away("the folder cannot be read; check the share" if is_gone else "")

    def _whole(self, present: Stamps, *, once: bool) -> Iterator[Arrival]:
        """Pictures that nobody writes any more; one look is enough where nobody is writing."""
        new = self.known.new_among(present)
        ready = [path for path in new if once or self._growing.get(path) == new[path]]
        if self._events is not None:
            ready = [path for path in ready if not self._events.is_open(path)]
        self._growing = {path: stamp for path, stamp in new.items() if path not in set(ready)}
        for path in sorted(ready):
            self.known.add({path: new[path]})
            yield Arrival(path, Path(path))
            if self._stop.is_set():
                return

    def _told(self, seconds: float) -> Iterator[Arrival]:
        """What the system tells meanwhile."""
        if self._events is None:
            self._stop.wait(seconds)
            return
        end = time.monotonic() + seconds
        while not self._stop.is_set():
            left = end - time.monotonic()
            written = self._events.take(max(0.0, min(left, POLL_S)))
            if written is not None and (part := self._part(written)) is not None:
                yield part
            elif left <= 0:
                return

    def _part(self, written: Written) -> Arrival | None:
        path = Path(written.path)
        if written.was_missed:
            said = (
                f"{path}: expected a picture, found it gone before it could be read; let pictures "
                "stay for longer"
            )
            return Arrival(written.path, path, said)
        if not written.stamp[0] or not self.known.is_new(written.path, written.stamp):
            return None
        self.known.add({written.path: written.stamp})
        return Arrival(written.path, path, content=written.content, stamp=written.stamp)


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
        return {path: stamp for path, stamp in present.items() if self.is_new(path, stamp)}

    def is_new(self, path: str, stamp: tuple[int, int]) -> bool:
        """Whether it was never handed on, or was written since."""
        # A camera, a copy or a clock that stands may write a picture over within the same time.
        return self._written.get(path) != stamp
