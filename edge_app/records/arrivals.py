"""The journal of a station: what its sources have brought, each arrival once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from edge_app.records.database import Database

# Of what waits to be looked at, as much as anybody will.
MOST_WAITING = 100
# How long an arrival is remembered whose file has gone: a share may be away for long.
KEEP_DAYS = 30
_HIGHEST = 2**63 - 1
_COLUMNS = (
    "source",
    "name",
    "size",
    "written_ns",
    "bundle",
    "id",
    "time",
    "verdict",
    "raw_score",
    "normalized_score",
    "threshold",
    "reason",
)
_INSERT = f"INSERT INTO arrivals ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
_SELECT = (
    f"SELECT a.arrival, {', '.join(f'a.{name}' for name in _COLUMNS)}, "
    "coalesce(p.confirmed, ''), coalesce(p.defect_type, ''), coalesce(p.confirmed_defect, ''), "
    "p.id IS NOT NULL FROM arrivals a LEFT JOIN parts p ON p.bundle = a.bundle AND p.id = a.id "
)
_WAITING = "WHERE a.seen_at = '' AND a.verdict <> 'good' AND coalesce(p.confirmed, '') = '' "


@dataclass(frozen=True)
class Arrival:
    """One part that came.

    Attributes:
        source: name of its source.
        name: the file's path, or ``SOURCE#frame``.
        size: of the file in bytes; 0 for a frame.
        written_ns: when the file was written, ns since 1970; 0 for a frame.
        bundle: fingerprint of the model that has judged it.
        id: of its record; ``""`` where the picture cannot be read.
        time: when it was judged, UTC, ISO 8601.
        verdict: ``good``, ``anomalous`` or ``cannot_judge``.
        raw_score: None where there is none.
        normalized_score: likewise.
        threshold: on the raw score, likewise.
        reason: why it cannot be judged.
        number: its place in the journal.
        word: the newest word on it.
        defect_type: what was known of it without a word.
        word_defect: the defect that the word names.
        recorded: whether the records have it.
    """

    source: str
    name: str
    size: int
    written_ns: int
    bundle: str
    id: str
    time: str
    verdict: str
    raw_score: float | None = None
    normalized_score: float | None = None
    threshold: float | None = None
    reason: str = ""
    number: int = 0
    word: str = ""
    defect_type: str = ""
    word_defect: str = ""
    recorded: bool = False


@dataclass(frozen=True)
class Counts:
    """Parts since a time, by what became of them.

    Attributes:
        seen: all of them.
        rejected: called anomalous.
        cannot_judge: without a verdict.
        overruled: whose verdict somebody called wrong.
    """

    seen: int = 0
    rejected: int = 0
    cannot_judge: int = 0
    overruled: int = 0


class Journal:
    """What the sources of a station have brought. Safe in several threads and processes.

    Args:
        database: the records, open.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, arrival: Arrival) -> int:
        """Write an arrival down; its number."""
        values = [getattr(arrival, name) for name in _COLUMNS]
        with self._database.writing() as connection:
            return int(connection.execute(_INSERT, values).lastrowid or 0)

    def has(self, source: str, name: str, size: int, written_ns: int) -> bool:
        """Whether a source's file as it is now was judged already; a frame never was."""
        if not written_ns:
            return False
        with self._database.reading() as connection:
            found = connection.execute(
                "SELECT 1 FROM arrivals WHERE source = ? AND name = ? AND size = ? "
                "AND written_ns = ? LIMIT 1",
                (source, name, size, written_ns),
            )
            return found.fetchone() is not None

    def newest(self, most: int) -> list[Arrival]:
        """The newest arrivals, newest first."""
        return self._arrivals("ORDER BY a.arrival DESC LIMIT ?", most)

    def waiting(self) -> list[Arrival]:
        """Flagged parts that nobody has looked at, oldest first; the newest hundred of them."""
        found = self._arrivals(f"{_WAITING}ORDER BY a.arrival DESC LIMIT ?", MOST_WAITING)
        return found[::-1]

    def look_at(self, number: int, who: str) -> bool:
        """Somebody has looked at a flagged part; whether there is such an arrival."""
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE arrivals SET seen_at = ?, seen_by = ? WHERE arrival = ? AND seen_at = ''",
                (now, who, number),
            )
            found = connection.execute("SELECT 1 FROM arrivals WHERE arrival = ?", (number,))
            return found.fetchone() is not None

    def rates(self, since: str, minutes: int) -> list[tuple[int, int, int]]:
        """Seconds since 1970 at which a span of so many minutes begins, parts, rejected ones."""
        seconds = 60 * minutes
        with self._database.reading() as connection:
            found = connection.execute(
                "SELECT CAST(strftime('%s', time) AS INTEGER) / ? * ? AS span, count(*), "
                "sum(verdict = 'anomalous') "
                "FROM arrivals WHERE time >= ? GROUP BY span ORDER BY span",
                (seconds, seconds, since),
            )
            return [(int(span), int(seen), int(rejected)) for span, seen, rejected in found]

    def counts(self, since: str) -> dict[str, Counts]:
        """Counts by source since a time (UTC, ISO 8601)."""
        with self._database.reading() as connection:
            by_verdict = connection.execute(
                "SELECT source, verdict, count(*) FROM arrivals WHERE time >= ? "
                "GROUP BY source, verdict",
                (since,),
            ).fetchall()
            overruled = dict(
                connection.execute(
                    "SELECT a.source, count(*) FROM bundles b "
                    "JOIN parts p ON p.bundle = b.bundle AND p.confirmed = 'wrong' "
                    "AND p.confirmed <> '' AND p.confirmed_at >= ? "
                    "JOIN arrivals a ON a.bundle = p.bundle AND a.id = p.id AND a.time >= ? "
                    "GROUP BY a.source",
                    (since, since),
                ).fetchall()
            )
        found: dict[str, dict[str, int]] = {}
        for source, verdict, number in by_verdict:
            found.setdefault(source, {})[verdict] = number
        return {
            source: Counts(
                sum(numbers.values()),
                numbers.get("anomalous", 0),
                numbers.get("cannot_judge", 0),
                overruled.get(source, 0),
            )
            for source, numbers in found.items()
        }

    def state(self) -> str:
        """Text that changes with every arrival, every word and every look."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT (SELECT max(arrival) FROM arrivals), (SELECT max(word) FROM words), "
                "(SELECT count(*) FROM (SELECT 1 FROM arrivals WHERE seen_at = '' "
                "AND verdict <> 'good' LIMIT 1000))"
            ).fetchone()
        return ".".join(str(number or 0) for number in row)

    def forget(self, days: float = KEEP_DAYS) -> int:
        """Drop old frames, and old files that are no longer there; their number.

        A file that is still there stays known, however old, or it would be judged once more. What
        an output has yet to deliver stays, too.
        """
        before = (datetime.now(UTC) - timedelta(days=days)).isoformat()
        with self._database.reading() as connection:
            old = connection.execute(
                "SELECT arrival, name, written_ns FROM arrivals WHERE time < ? "
                "AND arrival <= (SELECT coalesce(min(delivered), ?) FROM outputs)",
                (before, _HIGHEST),
            ).fetchall()
        gone = [(number,) for number, name, ns in old if not ns or not _is_there(name)]
        with self._database.writing() as connection:
            connection.executemany("DELETE FROM arrivals WHERE arrival = ?", gone)
        return len(gone)

    def after(self, number: int, most: int) -> list[Arrival]:
        """The first arrivals after one, in order."""
        return self._arrivals("WHERE a.arrival > ? ORDER BY a.arrival LIMIT ?", number, most)

    def _arrivals(self, query: str, *values: Any) -> list[Arrival]:
        with self._database.reading() as connection:
            return [_arrival(row) for row in connection.execute(_SELECT + query, values)]


def _arrival(row: Sequence[Any]) -> Arrival:
    number, *fields, word, defect, named, recorded = row
    return Arrival(
        **dict(zip(_COLUMNS, fields, strict=True)),
        number=number,
        word=word,
        defect_type=defect,
        word_defect=named,
        recorded=bool(recorded),
    )


def _is_there(name: str) -> bool:
    # A frame of a video is called VIDEO#frame.
    return Path(name).exists() or Path(name.rpartition("#")[0] or name).is_file()
