"""Which parts a store lets go: the oldest, never one with an operator's word."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from edge_app.store import NeighborStore, PartPoint, SearchFilter
from edge_app.store.words import moment
from runtime.errors import StoreError

BATCH = 256
_UNKNOWN = datetime.min.replace(tzinfo=UTC)
# Later than the newest part by so many days, the clock is not believed.
_SURELY_WRONG = 366


@dataclass(frozen=True)
class Limits:
    """What a store may keep of each category and bundle; None for no limit. All given apply.

    Attributes:
        max_parts: number of parts, those with an operator's word included.
        max_days: age in days; parts whose time is unknown are not known to be old, and stay.
        max_mib: size in MiB of descriptors and payloads; the index comes on top.
    """

    max_parts: int | None = None
    max_days: float | None = None
    max_mib: float | None = None


@dataclass(frozen=True)
class Entry:
    """What the choice needs of a part.

    Attributes:
        point_id: its id.
        time: UTC, ISO 8601, or ``""``.
        confirmed: whether it has an operator's word.
        size_bytes: of descriptor and payload.
    """

    point_id: str
    time: str
    confirmed: bool
    size_bytes: int = 0


@dataclass
class PruneReport:
    """What was removed, or would be.

    Attributes:
        removed: number of parts by category.
        kept: number of parts by category.
        confirmed: number of the kept ones that have an operator's word, by category.
    """

    removed: dict[str, int] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)
    confirmed: dict[str, int] = field(default_factory=dict)

    @property
    def removed_total(self) -> int:
        """Number of parts removed."""
        return sum(self.removed.values())

    @property
    def kept_total(self) -> int:
        """Number of parts kept."""
        return sum(self.kept.values())


def choose(entries: Iterable[Entry], limits: Limits, now: datetime) -> list[str]:
    """The parts of one category to remove, oldest first.

    Args:
        entries: all parts of the category.
        limits: what to keep.
        now: aware, for ``max_days``.

    Returns:
        ids; of parts of the same time the one with the smaller id goes first.
    """
    known = list(entries)
    count, size = len(known), sum(entry.size_bytes for entry in known)
    oldest = _days_before(now, limits.max_days)
    removed = []
    for entry in sorted(known, key=lambda entry: (moment(entry.time, _UNKNOWN), entry.point_id)):
        if entry.confirmed:
            continue
        too_old = oldest is not None and bool(entry.time) and moment(entry.time, _UNKNOWN) < oldest
        too_many = limits.max_parts is not None and count > limits.max_parts
        too_big = limits.max_mib is not None and size > limits.max_mib * 2**20
        if too_old or too_many or too_big:
            removed.append(entry.point_id)
            count -= 1
            size -= entry.size_bytes
    return removed


def _days_before(now: datetime, days: float | None) -> datetime | None:
    """None for no limit, and for one that lies before the calendar: no part is that old."""
    try:
        return None if days is None else now - timedelta(days=days)
    except OverflowError:
        return None


def prune(
    store: NeighborStore,
    limits: Limits,
    *,
    category: str | None = None,
    now: datetime | None = None,
    dry_run: bool = False,
    batch: int = BATCH,
    advance: Callable[[int], None] | None = None,
) -> PruneReport:
    """Remove what is over the limits. Interrupted, it has removed the oldest; again, it goes on.

    A part that gets an operator's word meanwhile stays, too. The disk gets its space from
    :meth:`edge_app.store.edge.EdgeStore.shrink`.

    Args:
        store: what to prune.
        limits: what to keep of each category.
        category: only this kind of part.
        now: aware; the clock's if None.
        dry_run: True to remove nothing.
        batch: parts read or deleted at once.
        advance: called with the number of parts that were looked at.

    Raises:
        StoreError: the store cannot be read or written; or the clock is years ahead of the newest
            part, so that every part would seem old.
    """
    moment = datetime.now(UTC) if now is None else now
    by_category: dict[str, list[Entry]] = defaultdict(list)
    # Descriptors and thumbnails are most of a store; only their size is asked for, and only by one
    # limit.
    sized = limits.max_mib is not None
    for page in store.scroll(SearchFilter(category=category), batch, full=sized):
        for point in page:
            by_category[point.category].append(_entry(point, sized=sized))
        if advance is not None:
            advance(len(page))
    if limits.max_days is not None:
        times = [one.time for some in by_category.values() for one in some if one.time]
        _check_clock(moment, times, limits.max_days)
    report = PruneReport()
    for name, entries in sorted(by_category.items()):
        chosen = choose(entries, limits, moment)
        for start in range(0, 0 if dry_run else len(chosen), batch):
            store.delete(chosen[start : start + batch], keep_confirmed=True)
        report.removed[name] = len(chosen)
        report.kept[name] = len(entries) - len(chosen)
        report.confirmed[name] = sum(entry.confirmed for entry in entries)
    return report


def _check_clock(now: datetime, times: list[str], max_days: float) -> None:
    newest = max((moment(one, _UNKNOWN) for one in times), default=now)
    if (now - newest).days > max(_SURELY_WRONG, max_days):
        raise StoreError(
            f"--max-days: expected a clock near the newest part ({newest:%Y-%m-%d}), found "
            f"{now:%Y-%m-%d}, by which every part is old; set the clock, or keep a number of parts "
            "with --max-parts"
        )


def _entry(point: PartPoint, *, sized: bool) -> Entry:
    size = 0
    if sized:
        size = point.embedding.nbytes + len(
            json.dumps(point.payload(), ensure_ascii=False).encode()
        )
    return Entry(point.point_id, point.time, bool(point.confirmed), size)
