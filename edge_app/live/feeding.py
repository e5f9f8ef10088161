"""Judges what the sources bring, while a block runs: each part once, and recorded once.

The sources, and the pipeline behind them, are those of ``lineside watch``.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from pathlib import Path

from edge_app.line import Inspected, Line
from edge_app.live.board import Board
from edge_app.live.coming import ComingPart, Incoming, read_whole
from edge_app.live.looks import look_of
from edge_app.live.settings import Source
from edge_app.live.underway import MOST_TRIES, Underway
from edge_app.page.choice import Station
from edge_app.records import Arrival
from edge_app.store import PartPoint
from edge_app.store.schema import now, utc_time
from runtime.atomic import readable
from runtime.errors import ImageError, LinesideError, StoreError, sentence
from runtime.health.state import DriftWatch
from runtime.images.dataset import Part
from runtime.pipeline import WINDOW, Feed, run_feeds
from runtime.progress import about
from runtime.sources.watching import see_drift
from runtime.types import UInt8Image

log = logging.getLogger("lineside")

_PATIENCE_S = 30.0
_SECOND_CHANCE_S = 1.0
_FORGET_EVERY = 10_000


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
    board.journal.forget()
    lines = {line.name: line for line in station.lines.values()}
    # A pipeline for each: what one source is slow with no other has to wait for.
    feeders = [_Feeder(one, lines[one.bundle], board, state) for one in board.sources]
    threads = [
        threading.Thread(target=one.run, name="lineside-source", daemon=True) for one in feeders
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for feeder in feeders:
            feeder.stop.set()
        for thread in threads:
            thread.join(_PATIENCE_S)


class _Feeder:
    """Judges what one source brings."""

    def __init__(self, source: Source, line: Line, board: Board, state: Path) -> None:
        self._source, self._line, self._board = source, line, board
        self._journal = board.journal
        self._watch = DriftWatch(_file_of(state, source, "drift", "json"))
        self.stop = threading.Event()
        self._incoming = Incoming(source, board, self.stop)
        self._underway = Underway(_file_of(state, source, "underway", "bin"))
        self._kept = 0

    def run(self) -> None:
        """Until :attr:`stop` is set, or the source has ended."""
        try:
            self._run()
        except Exception as error:
            # A fault of ours that no part is to blame for: the screen must not look as if all is
            # well.
            log.exception(f"{self._source.name}: judged no more; start the station again")
            said = f"start the station again: {sentence(error)}"
            self._board.is_(self._source.name, "away", said)
        self._watch.save()

    def _run(self) -> None:
        # Ahead of the line in a folder, whose pictures wait; of a camera the newest frame counts.
        window = WINDOW if Path(self._source.watch).is_dir() else 1
        feed = Feed(self._incoming.parts(), window)
        with closing(run_feeds([feed], self._judged, WINDOW, self.stop)) as found:
            for part, judged in (result for _, result in found):
                with self._about(part):
                    self._kept_or_told(part, judged)

    def _about(self, part: ComingPart) -> AbstractContextManager[None]:
        return about(source=self._source.name, part=readable(part.coming.name))

    def _kept_or_told(self, part: ComingPart, judged: Inspected | LinesideError) -> None:
        try:
            self._keep(part, judged)
        except Exception as error:
            # A fault of ours costs a part, never the line.
            log.exception(f"{self._source.name}: {readable(part.coming.name)}")
            self._board.failed(None, self._source.name, sentence(error))
        finally:
            self._incoming.done(part)

    def _judged(self, part: ComingPart) -> tuple[ComingPart, Inspected | LinesideError]:
        """In a worker thread: the verdict, or why there is none.

        A file that cannot be read may still be on its way; it has a second chance.
        """
        judging = self._underway.judging(part.coming.name, part.stamp)
        with self._about(part), judging as may:
            if not may:
                said = (
                    "expected a part that can be judged, found one that Lineside has ended with "
                    f"{MOST_TRIES} times; look at its picture"
                )
                return part, LinesideError(said)
            part, found = self._inspected(part)
            source = part.coming.source
            if isinstance(found, ImageError) and isinstance(source, str | Path):
                self.stop.wait(_SECOND_CHANCE_S)
                if Path(source).exists():
                    as_it_is_now = replace(part, coming=replace(part.coming, content=None))
                    part, found = self._inspected(as_it_is_now)
            return part, found

    def _inspected(self, part: ComingPart) -> tuple[ComingPart, Inspected | LinesideError]:
        try:
            picture = part.coming.checked()
            if isinstance(picture, str | Path):
                picture, stamp = read_whole(Path(picture))
                part = replace(part, stamp=stamp)
            return part, self._line.inspect(picture, counts=False)
        except OSError as error:
            said = f"expected a picture, but it cannot be read ({error.strerror})"
            return part, ImageError(said)
        except LinesideError as error:
            return part, error
        except Exception as error:
            log.exception(f"{self._source.name}: {readable(part.coming.name)}")
            return part, LinesideError(sentence(error))

    def _keep(self, part: ComingPart, judged: Inspected | LinesideError) -> None:
        """First the screen, then the records."""
        line, name = self._line, self._source.name
        arrival = Arrival(
            source=name,
            name=readable(part.coming.name),
            size=part.stamp[0],
            written_ns=part.stamp[1],
            bundle=line.store.bundle if isinstance(judged, LinesideError) else judged.bundle,
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
            self._write(arrival, None)
            return
        drift = "" if judged.prediction.is_fault else self._drift(judged)
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
            frame = part.coming.source
            self._keep_frame(arrival, frame if isinstance(frame, bytes) else judged.image_rgb)
        self._write(arrival, replace(point, time=arrival.time) if found.has_score else None)

    def _keep_frame(self, arrival: Arrival, frame: UInt8Image | bytes) -> None:
        kept = self._board.kept
        if kept is None or not kept.wants(arrival.verdict):
            return
        try:
            kept.keep(arrival.id, frame)
        except OSError as error:
            said = f"its picture is not kept: {sentence(error)}"
            log.warning(f"warning: {arrival.name}: {said}")
            self._board.failed(None, arrival.source, said)

    def _drift(self, judged: Inspected) -> str:
        where = f"{self._source.name}: "
        alarm = see_drift(self._watch, self._line.inspector, judged.prediction, where)
        return "" if alarm is None else alarm.sentence()

    def _write(self, arrival: Arrival, point: PartPoint | None) -> None:
        """The part's record before the journal: killed in between, it is judged once more."""
        try:
            if point is not None:
                self._line.keep(point)
            self._journal.add(arrival)
        except StoreError as error:
            # A full disk must not keep the operator from verdicts; the file is judged again after
            # a restart.
            log.warning(f"warning: {arrival.name}: not recorded: {error}")
            self._board.failed(arrival, arrival.source, f"not recorded: {error}")
            return
        self._board.recorded()
        told = {"id": arrival.id, "verdict": arrival.verdict, "raw_score": arrival.raw_score}
        log.debug(f"{arrival.source}: {arrival.verdict}: {arrival.name}", extra={"fields": told})
        self._kept += 1
        if self._kept % _FORGET_EVERY == 0:
            self._journal.forget()


def _sample(part: ComingPart) -> Part | None:
    """Where a file lies; what is wrong with a part of the line nobody has said."""
    source = part.coming.source
    return Part(Path(source), "") if isinstance(source, str | Path) else None


def _file_of(folder: Path, source: Source, what: str, kind: str) -> Path:
    # By the source's name in letters that any disk takes.
    return folder / f"{what}-{hashlib.sha256(source.name.encode()).hexdigest()[:12]}.{kind}"
