"""Judges what the sources bring, while a block runs: each part once, and recorded once.

The sources, and the pipeline behind them, are those of ``lineside watch``.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from edge_app.line import Inspected, Line
from edge_app.live.board import Board
from edge_app.live.looks import look_of
from edge_app.live.settings import Source
from edge_app.page.station import Station
from edge_app.records import Arrival
from edge_app.store import PartPoint
from edge_app.store.schema import now, utc_time
from runtime.atomic import readable
from runtime.errors import ImageError, LinesideError, StoreError, sentence
from runtime.health.state import DriftWatch
from runtime.images.dataset import Part
from runtime.pipeline import WINDOW, Feed, run_feeds
from runtime.sources import Arrival as Coming
from runtime.sources import arrivals, shown
from runtime.sources.watching import see_drift

log = logging.getLogger("lineside")

# How long a source that is not there yet is left alone before the next look.
_PAUSES_S = (0.5, 1.0, 2.0, 5.0)
_PATIENCE_S = 30.0
_SECOND_CHANCE_S = 1.0
_LOOK_S = 0.02
_FORGET_EVERY = 10_000


@dataclass(frozen=True)
class _Part:
    """A part on its way: its source, what came, and size and time of the file."""

    source: Source
    coming: Coming
    stamp: tuple[int, int]


@contextmanager
def feeding(station: Station, board: Board, state: Path) -> Iterator[None]:
    """Judge what comes, in threads of its own, while the block runs.

    Args:
        station: the open lines; each source names one.
        board: what is told of every part.
        state: folder that keeps what the drift tests have learnt over a restart.

    Raises:
        StoreError: the journal cannot be read.
    """
    feeder = _Feeder(station, board, state)
    thread = threading.Thread(target=feeder.run, name="lineside-station", daemon=True)
    thread.start()
    try:
        yield
    finally:
        feeder.stop.set()
        thread.join(_PATIENCE_S)


class _Feeder:
    def __init__(self, station: Station, board: Board, state: Path) -> None:
        self._board = board
        self._journal = board.journal
        self._lines = {line.name: line for line in station.lines.values()}
        self._drifts = {one.name: DriftWatch(_drift_file(state, one)) for one in board.sources}
        self._in_work: set[tuple[str, str]] = set()
        self._kept = 0
        self.stop = threading.Event()
        self._journal.forget()

    def run(self) -> None:
        """Until :attr:`stop` is set, or the last source has ended."""
        try:
            self._run()
        except Exception as error:
            # A fault of ours that no part is to blame for: the screen must not look as if all is
            # well.
            log.exception("the station judges no more; start it again")
            for source in self._board.sources:
                self._board.is_(source.name, "away", f"start the station again: {sentence(error)}")
        for drift in self._drifts.values():
            drift.save()

    def _run(self) -> None:
        feeds = [
            Feed(self._coming(one), WINDOW if Path(one.watch).is_dir() else 1)
            for one in self._board.sources
        ]
        with closing(run_feeds(feeds, self._judged, len(feeds) + 1, self.stop)) as found:
            for part, judged in (result for _, result in found):
                try:
                    self._keep(part, judged)
                except Exception as error:
                    # A fault of ours costs a part, never the line.
                    log.exception(f"{part.source.name}: {readable(part.coming.name)}")
                    self._board.failed(None, part.source.name, sentence(error))
                finally:
                    self._in_work.discard((part.source.name, part.coming.name))

    def _coming(self, source: Source) -> Iterator[_Part]:
        """Parts of a source that were not judged yet."""
        for coming in self._arriving(source):
            name = (source.name, coming.name)
            # Written over while it is judged: what comes of that is waited for.
            while name in self._in_work and not self.stop.wait(_LOOK_S):
                pass
            stamp = _stamp(source, coming)
            if self._is_known(source, coming, stamp):
                continue
            self._in_work.add(name)
            self._board.begun(source.name)
            yield _Part(source, coming, stamp)
        if not self.stop.is_set():
            log.info(f"{source.name}: {shown(source.watch)} has ended")
            self._board.is_(source.name, "ended")

    def _is_known(self, source: Source, coming: Coming, stamp: tuple[int, int]) -> bool:
        try:
            return self._journal.has(source.name, readable(coming.name), *stamp)
        except StoreError:
            # Rather judged twice than never.
            return False

    def _arriving(self, source: Source) -> Iterator[Coming]:
        """What a source brings; one that is not there, or fails, is tried again."""

        def away(why: str) -> None:
            self._board.is_(source.name, "away" if why else "running", why)

        tries = 0
        while not self.stop.is_set():
            try:
                found = arrivals(source.watch, self.stop, away=away)
                if tries:
                    log.info(f"{source.name}: {shown(source.watch)} is there")
                tries = 0
                away("")
                yield from found
            except Exception as error:
                if not tries:
                    said = sentence(error)
                    log.warning(f"warning: {source.name}: {said}; trying again until it is there")
                    away(said)
                self.stop.wait(_PAUSES_S[min(tries, len(_PAUSES_S) - 1)])
                tries += 1
            else:
                return

    def _judged(self, part: _Part) -> tuple[_Part, Inspected | LinesideError]:
        """In a worker thread: the verdict, or why there is none.

        A file that cannot be read may still be on its way; it has a second chance.
        """
        part, found = self._inspected(part)
        if isinstance(found, ImageError) and isinstance(part.coming.source, str | Path):
            self.stop.wait(_SECOND_CHANCE_S)
            part, found = self._inspected(part)
        return part, found

    def _inspected(self, part: _Part) -> tuple[_Part, Inspected | LinesideError]:
        line, picture = self._lines[part.source.bundle], part.coming.source
        try:
            if isinstance(picture, str | Path):
                picture, stamp = _read(Path(picture))
                part = replace(part, stamp=stamp)
            return part, line.inspect(picture, counts=False)
        except OSError as error:
            said = f"expected a picture, but it cannot be read ({error.strerror})"
            return part, ImageError(said)
        except LinesideError as error:
            return part, error
        except Exception as error:
            log.exception(f"{part.source.name}: {readable(part.coming.name)}")
            return part, LinesideError(sentence(error))

    def _keep(self, part: _Part, judged: Inspected | LinesideError) -> None:
        """First the screen, then the records."""
        line, name = self._lines[part.source.bundle], part.source.name
        arrival = Arrival(
            source=name,
            name=readable(part.coming.name),
            size=part.stamp[0],
            written_ns=part.stamp[1],
            bundle=line.store.bundle,
            id="",
            time=utc_time(now()),
            verdict="cannot_judge",
        )
        if isinstance(judged, LinesideError):
            log.warning(f"warning: {name}: {readable(part.coming.name)}: {judged}")
            said = str(judged).removeprefix("picture: ")
            unread = isinstance(judged, ImageError)
            arrival = replace(arrival, reason=f"cannot be read: {said}" if unread else said)
            self._board.judged(arrival, None)
            self._write(line, arrival, None)
            return
        drift = "" if judged.prediction.is_fault else self._drift(line, name, judged)
        found = judged.prediction
        point = line.point(judged, arrival.name, _sample(part), camera=name)
        arrival = replace(
            arrival,
            id=point.point_id,
            verdict=found.verdict,
            reason=found.reason,
            threshold=found.threshold.image_threshold,
            raw_score=found.pred_score if found.has_score else None,
            normalized_score=found.normalized_score if found.has_score else None,
        )
        self._board.judged(
            arrival, look_of(judged.image_rgb, found), drift=drift, warning=judged.warning
        )
        if not isinstance(part.coming.source, str | Path):
            self._keep_frame(arrival, judged)
        self._write(line, arrival, replace(point, time=arrival.time) if found.has_score else None)

    def _keep_frame(self, arrival: Arrival, judged: Inspected) -> None:
        kept = self._board.kept
        if kept is None or not kept.wants(arrival.verdict):
            return
        try:
            kept.keep(arrival.id, judged.image_rgb)
        except OSError as error:
            said = f"its picture is not kept: {sentence(error)}"
            log.warning(f"warning: {arrival.name}: {said}")
            self._board.failed(None, arrival.source, said)

    def _drift(self, line: Line, name: str, judged: Inspected) -> str:
        alarm = see_drift(self._drifts[name], line.inspector, judged.prediction, f"{name}: ")
        return "" if alarm is None else alarm.sentence()

    def _write(self, line: Line, arrival: Arrival, point: PartPoint | None) -> None:
        """The part's record before the journal: killed in between, it is judged once more."""
        try:
            if point is not None:
                line.keep(point)
            self._journal.add(arrival)
        except StoreError as error:
            # A full disk must not keep the operator from verdicts; the file is judged again after
            # a restart.
            log.warning(f"warning: {arrival.name}: not recorded: {error}")
            self._board.failed(arrival, arrival.source, f"not recorded: {error}")
            return
        self._board.recorded()
        self._kept += 1
        if self._kept % _FORGET_EVERY == 0:
            self._journal.forget()


def _read(path: Path) -> tuple[bytes, tuple[int, int]]:
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
    path = coming.source if isinstance(coming.source, str | Path) else source.watch
    try:
        status = Path(path).stat()
    except OSError:
        return 0, 0
    return (status.st_size, status.st_mtime_ns) if Path(path).is_file() else (0, 0)


def _sample(part: _Part) -> Part | None:
    """Where a file lies; what is wrong with a part of the line nobody has said."""
    source = part.coming.source
    return Part(Path(source), "") if isinstance(source, str | Path) else None


def _drift_file(folder: Path, source: Source) -> Path:
    # By its name in letters that any disk takes.
    return folder / f"drift-{hashlib.sha256(source.name.encode()).hexdigest()[:12]}.json"
