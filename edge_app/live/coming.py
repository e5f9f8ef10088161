"""What a station's source brings that was not judged yet, and a file's bytes as they are read.

A source that is not there is waited for; one that goes away is told and tried again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_app.live.board import Board
from edge_app.live.settings import Source
from runtime.atomic import readable
from runtime.errors import StoreError, sentence
from runtime.sources import Arrival as Coming
from runtime.sources import arrivals, shown

log = logging.getLogger("lineside")

# How long a source that is not there yet is left alone before the next look.
_PAUSES_S = (0.5, 1.0, 2.0, 5.0)
_LOOK_S = 0.02


@dataclass(frozen=True)
class ComingPart:
    """A part on its way.

    Attributes:
        coming: its name and picture.
        stamp: size in bytes and time of writing in ns of the file; zeros for a camera's frame.
    """

    coming: Coming
    stamp: tuple[int, int]


class Incoming:
    """Parts of a source, each once.

    Args:
        source: where they come from.
        board: is told how the source is, and of every part that is to be judged.
        stop: set it to end them.
    """

    def __init__(self, source: Source, board: Board, stop: threading.Event) -> None:
        self._source, self._board, self._stop = source, board, stop
        self._in_work: set[str] = set()

    def parts(self) -> Iterator[ComingPart]:
        """Those that were not judged yet."""
        for coming in self._arriving():
            # Written over while it is judged: what comes of that is waited for.
            while coming.name in self._in_work and not self._stop.wait(_LOOK_S):
                pass
            stamp = _stamp(self._source, coming)
            if self._is_known(coming, stamp):
                continue
            self._in_work.add(coming.name)
            self._board.begun(self._source.name)
            yield ComingPart(coming, stamp)
        if not self._stop.is_set():
            log.info(f"{self._source.name}: {shown(self._source.watch)} has ended")
            self._board.is_(self._source.name, "ended")

    def done(self, part: ComingPart) -> None:
        """A part is judged and recorded, or given up."""
        self._in_work.discard(part.coming.name)

    def _is_known(self, coming: Coming, stamp: tuple[int, int]) -> bool:
        try:
            return self._board.journal.has(self._source.name, readable(coming.name), *stamp)
        except StoreError:
            # Rather judged twice than never.
            return False

    def _arriving(self) -> Iterator[Coming]:
        """What a source brings; one that is not there, or fails, is tried again."""

        def away(why: str) -> None:
            self._board.is_(self._source.name, "away" if why else "running", why)

        tries = 0
        while not self._stop.is_set():
            try:
                found = arrivals(self._source.watch, self._stop, away=away)
                if tries:
                    log.info(f"{self._source.name}: {shown(self._source.watch)} is there")
                tries = 0
                away("")
                yield from found
            except Exception as error:
                if not tries:
                    said = sentence(error)
                    log.warning(
                        f"warning: {self._source.name}: {said}; trying again until it is there"
                    )
                    away(said)
                self._stop.wait(_PAUSES_S[min(tries, len(_PAUSES_S) - 1)])
                tries += 1
            else:
                return


def read_whole(path: Path) -> tuple[bytes, tuple[int, int]]:
    """A file's bytes with the size and time that belong to them, for it may be written meanwhile.

    Raises:
        OSError: it cannot be read.
    """
    while True:
        before = path.stat()
        content = path.read_bytes()
        after = path.stat()
        stamp = (after.st_size, after.st_mtime_ns)
        if stamp == (before.st_size, before.st_mtime_ns):
            return content, stamp


def _stamp(source: Source, coming: Coming) -> tuple[int, int]:
    """Size and time of the file that a part comes from; zeros for a camera's frame."""
    if coming.content is not None:
        return coming.stamp
    path = coming.source if isinstance(coming.source, str | Path) else source.watch
    try:
        status = Path(path).stat()
    except OSError:
        return 0, 0
    return (status.st_size, status.st_mtime_ns) if Path(path).is_file() else (0, 0)
