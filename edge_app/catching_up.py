"""Bringing a box's own store and a shared server together: the box catches up."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import astuple, dataclass

from edge_app.store import NeighborStore, PartPoint, SearchFilter
from edge_app.store.schema import checked_id, checked_point
from edge_app.store.words import newer, with_word_of
from runtime.errors import StoreError

log = logging.getLogger("lineside")

# Parts in one request: some 700 kB with thumbnails, which a slow line sends within the time that a
# server is given.
BATCH = 64
TIMEOUT_S = 30
# Every request may be repeated without harm, so a short loss of the network needs nobody's
# attention.
PAUSES_S = (1.0, 3.0, 10.0)


@dataclass
class SyncReport:
    """What went over, in parts; filled while working.

    Attributes:
        pushed: parts that the server had not.
        pulled: parts with an operator's word that the box had not.
        words_pushed: parts whose word was older on the server.
        words_pulled: parts whose word was older on the box.
        unchanged: parts of the box that were alike on both sides.
        unusable: parts on the server that are none of ours, which are left alone.
    """

    pushed: int = 0
    pulled: int = 0
    words_pushed: int = 0
    words_pulled: int = 0
    unchanged: int = 0
    unusable: int = 0

    def __add__(self, other: SyncReport) -> SyncReport:
        return SyncReport(
            *(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True))
        )


def sync(
    box: NeighborStore,
    server: NeighborStore,
    *,
    report: SyncReport | None = None,
    batch: int = BATCH,
    advance: Callable[[int], None] | None = None,
) -> SyncReport:
    """Push the box's parts, pull those with others' words; the newest word wins on both sides.

    Nothing is remembered between two runs: both sides are compared by id, without descriptors and
    thumbnails. So a run that is cut short anywhere is made good by the next, however often a
    request was lost, late or sent twice.

    Args:
        box: the store on the box.
        server: the shared store, of the same bundle.
        report: filled while working, so that it can be read after an interruption.
        batch: parts in one request.
        advance: called with the number of parts that were looked at.

    Raises:
        StoreError: the server cannot be reached, or either side cannot be written.
    """
    report = report if report is not None else SyncReport()
    for mine in box.scroll(batch=batch):
        _exchange(mine, box, server, report)
        if advance is not None:
            advance(len(mine))
    for theirs in server.scroll(SearchFilter(confirmed_only=True), batch, full=False):
        ours = [point.point_id for point in theirs if _is_id(point.point_id)]
        report.unusable += len(theirs) - len(ours)
        known = {point.point_id for point in box.fetch(ours, full=False)}
        missing = server.fetch([identifier for identifier in ours if identifier not in known])
        report.pulled += box.merge(_usable(missing, box, report)).added
        if advance is not None:
            advance(len(theirs))
    return report


def _is_id(text: str) -> bool:
    try:
        checked_id(text)
    except StoreError:
        return False
    return True


def _usable(points: list[PartPoint], box: NeighborStore, report: SyncReport) -> list[PartPoint]:
    """Those that the box can store; another program's must not keep the rest from coming."""
    found = []
    for point in points:
        try:
            checked_point(point, box.bundle, box.embedding_length)
        except StoreError as error:
            report.unusable += 1
            log.info(f"left on the server: {error}")
            continue
        found.append(point)
    return found


def expected_steps(box: NeighborStore, server: NeighborStore) -> int:
    """Number of parts that :func:`sync` will look at, for a progress bar."""
    return box.count() + server.count(SearchFilter(confirmed_only=True))


def _exchange(
    mine: list[PartPoint], box: NeighborStore, server: NeighborStore, report: SyncReport
) -> None:
    theirs = {
        point.point_id: point
        for point in server.fetch([point.point_id for point in mine], full=False)
    }
    push = [
        point
        for point in mine
        if point.point_id not in theirs or newer(point, theirs[point.point_id])
    ]
    # Descriptor and thumbnail are the box's own; only the word comes over, with the verdict that it
    # is on.
    pull = [
        with_word_of(point, other)
        for point in mine
        if (other := theirs.get(point.point_id)) is not None and newer(other, point)
    ]
    if push:
        pushed = server.merge(push)
        report.pushed += pushed.added
        report.words_pushed += pushed.words
    if pull:
        report.words_pulled += box.merge(_usable(pull, box, report)).words
    report.unchanged += len(mine) - len(push) - len(pull)
