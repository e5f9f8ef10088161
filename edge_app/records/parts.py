"""The parts of one bundle and the operators' words on them."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_app.records.database import Database
from edge_app.records.rows import conditions, packed, unpacked
from edge_app.store.schema import Checked, Merged, Neighbor, PartPoint, Place, SearchFilter, Word
from edge_app.store.words import WORD_FIELDS
from runtime.errors import StoreError

# Descriptors that an exact search holds in memory at once.
CHUNK = 8192
# A descriptor of zeros is like nothing.
_TINY = float(np.finfo(np.float32).tiny)
# Fields of a part as they are named in the table, but for descriptor and thumbnail.
FIELDS = (
    "category",
    "path",
    "verdict",
    "raw_score",
    "normalized_score",
    "defect_type",
    "time",
    "camera",
    "confirmed",
    "confirmed_at",
    "confirmed_by",
    "confirmed_defect",
    "confirmed_note",
    "judged_by",
)
_ALL = ("id", "bundle", "seq", *FIELDS, "descriptor")
_INSERT = (
    f"INSERT INTO parts ({', '.join(_ALL)}) VALUES ({', '.join('?' * len(_ALL))}) "
    "ON CONFLICT (bundle, id) DO UPDATE SET "
)
_REPLACE = _INSERT + ", ".join(
    f"{name} = excluded.{name}" for name in ("seq", *FIELDS, "descriptor")
)
# As edge_app.store.words.newer decides: times of this form sort as text, and none before any.
_RENEW = (
    _INSERT
    + ", ".join(f"{name} = excluded.{name}" for name in ("seq", *WORD_FIELDS))
    + " WHERE (excluded.confirmed_at, excluded.confirmed) > (confirmed_at, confirmed)"
)
_LIGHT = f"SELECT id, {', '.join(FIELDS)}, NULL, NULL FROM parts "
_SHOWN = f"SELECT id, {', '.join(FIELDS)}, NULL, jpeg FROM parts LEFT JOIN thumbnails USING (part) "
_FULL = _SHOWN.replace("NULL, jpeg", "descriptor, jpeg")
_NAMED = "WHERE bundle = ? AND id IN (SELECT value FROM json_each(?))"


@dataclass(frozen=True)
class Changes:
    """What the records say that an index does not know yet.

    Attributes:
        seq: up to this write.
        complete: whether that is the newest write.
        parts: added or changed, with descriptors.
        removed: ids.
    """

    seq: int
    complete: bool
    parts: list[PartPoint]
    removed: list[str]


def bundles(database: Database) -> list[tuple[str, int]]:
    """(fingerprint, length of descriptors) of every bundle of which there are records."""
    with database.reading() as connection:
        found = connection.execute("SELECT bundle, embedding_length FROM bundles ORDER BY bundle")
        return [(str(bundle), int(length)) for bundle, length in found]


class PartRecords:
    """Parts of one bundle. Safe in several threads and processes, as its database is.

    Args:
        database: an open one.
        bundle: fingerprint of the model.
        embedding_length: length of its descriptors.
        create: False to begin nothing for a bundle that is not there.

    Raises:
        StoreError: the bundle is not there, its descriptors have another length, or the records
            cannot be used.
    """

    def __init__(
        self, database: Database, bundle: str, embedding_length: int, *, create: bool = True
    ) -> None:
        self.database = database
        self.bundle = bundle
        self.embedding_length = embedding_length
        known = dict(bundles(database))
        if bundle not in known and create:
            with database.writing() as connection:
                connection.execute(
                    "INSERT OR IGNORE INTO bundles (bundle, embedding_length) VALUES (?, ?)",
                    (bundle, embedding_length),
                )
            known = dict(bundles(database))
        folder = database.path.parent
        if bundle not in known:
            others = ", ".join(name[:16] for name in known)
            raise StoreError(
                f"{folder}: expected parts indexed with bundle {bundle[:16]}, found "
                f"{f'only those of {others}' if others else 'none'}; "
                f"type: lineside index BUNDLE --images DIR --store {folder}"
            )
        if known[bundle] != embedding_length:
            raise StoreError(
                f"{folder}: expected descriptors of length {embedding_length}, found "
                f"{known[bundle]}; index into another folder with --store"
            )

    def upsert(self, checked: Sequence[Checked]) -> None:
        """Add parts or replace those with the same id."""
        with self.database.writing() as connection:
            for seq, entry in self._numbered(connection, checked):
                connection.execute(_REPLACE, self._row(entry, seq))
                self._add_thumbnail(connection, entry, replace=True)
                self._add_word(connection, entry)

    def merge(self, checked: Sequence[Checked]) -> Merged:
        """Add those that are missing; of two words on a part the newest wins."""
        with self.database.writing() as connection:
            names = json.dumps([identifier for identifier, _, _ in checked])
            found = connection.execute(f"SELECT id FROM parts {_NAMED}", (self.bundle, names))
            there = {identifier for (identifier,) in found}
            added = words = 0
            for seq, entry in self._numbered(connection, checked):
                changed = connection.execute(_RENEW, self._row(entry, seq)).rowcount
                if entry[0] not in there:
                    self._add_thumbnail(connection, entry)
                    added += 1
                    there.add(entry[0])
                else:
                    words += changed
                self._add_word(connection, entry)
        return Merged(added, words, len(checked) - added - words)

    def delete(self, point_ids: Sequence[str], *, keep_confirmed: bool) -> None:
        """Remove parts; unknown ids do not matter. Words that were given stay on record."""
        spared = " AND confirmed = ''" if keep_confirmed else ""
        with self.database.writing() as connection:
            gone = connection.execute(
                f"DELETE FROM parts {_NAMED}{spared} RETURNING id",
                (self.bundle, json.dumps(list(point_ids))),
            ).fetchall()
            first = self._take(connection, len(gone))
            connection.executemany(
                "INSERT INTO removed (bundle, seq, id) VALUES (?, ?, ?)",
                [(self.bundle, first + place, name) for place, (name,) in enumerate(gone)],
            )

    def fetch(self, point_ids: Sequence[str], *, full: bool) -> list[PartPoint]:
        """Those of the parts that are there, without descriptor and thumbnail if not ``full``."""
        return self._parts((_FULL if full else _LIGHT) + _NAMED, json.dumps(list(point_ids)))

    def page(self, where: SearchFilter, after: str, size: int, *, full: bool) -> list[PartPoint]:
        """The first parts behind an id that satisfy a filter, by id."""
        wanted, values = conditions(where)
        return self._parts(
            f"{_FULL if full else _LIGHT}WHERE bundle = ?{wanted} AND id > ? ORDER BY id LIMIT ?",
            *values,
            after,
            size,
        )

    def recent(self, where: SearchFilter, before: Place | None, size: int) -> list[PartPoint]:
        """The newest parts that satisfy a filter, those after a place alone, by time and id."""
        wanted, values = conditions(where)
        if before is not None:
            wanted, values = f"{wanted} AND (time, id) < (?, ?)", [*values, *before]
        query = f"{_LIGHT}WHERE bundle = ?{wanted} ORDER BY time DESC, id DESC LIMIT ?"
        return self._parts(query, *values, size)

    def count(self, where: SearchFilter) -> int:
        """Number of parts that satisfy a filter."""
        wanted, values = conditions(where)
        with self.database.reading() as connection:
            (number,) = connection.execute(
                f"SELECT count(*) FROM parts WHERE bundle = ?{wanted}",
                (self.bundle, *values),
            ).fetchone()
        return int(number)

    def search(
        self, embedding: npt.NDArray[np.float32], k: int, where: SearchFilter
    ) -> list[Neighbor]:
        """The k nearest parts, exact: every descriptor that passes the filter is read."""
        wanted, values = conditions(where)
        query = embedding / max(float(np.linalg.norm(embedding)), _TINY)
        best, names = np.empty(0, np.float32), np.empty(0, dtype=object)
        with self.database.reading() as connection:
            found = connection.execute(
                f"SELECT id, descriptor FROM parts WHERE bundle = ?{wanted}",
                (self.bundle, *values),
            )
            while rows := found.fetchmany(CHUNK):
                ids, blobs = zip(*rows, strict=True)
                matrix = np.frombuffer(b"".join(blobs), np.float32).reshape(len(ids), -1)
                norms = np.maximum(np.linalg.norm(matrix, axis=1), _TINY)
                best = np.concatenate([best, matrix @ query / norms])
                names = np.concatenate([names, np.asarray(ids, dtype=object)])
                chosen = np.argsort(-best, kind="stable")[:k]
                best, names = best[chosen], names[chosen]
        return self.neighbors(zip(names, best.tolist(), strict=True))

    def neighbors(self, found: Iterable[tuple[str, float]]) -> list[Neighbor]:
        """(id, similarity) as parts with thumbnails; those that have gone are left out."""
        similar = dict(found)
        parts = {
            part.point_id: part for part in self._parts(_SHOWN + _NAMED, json.dumps(list(similar)))
        }
        return [Neighbor(value, parts[name]) for name, value in similar.items() if name in parts]

    def words(self, point_id: str) -> list[Word]:
        """Everything that was said of a part, oldest first."""
        with self.database.reading() as connection:
            found = connection.execute(
                "SELECT time, who, what, verdict, defect, note FROM words "
                "WHERE bundle = ? AND id = ? ORDER BY time, what, word",
                (self.bundle, point_id),
            )
            return [Word(*row) for row in found]

    def seq(self) -> int:
        """Number of the newest write."""
        with self.database.reading() as connection:
            return self._seq(connection)

    def extent(self) -> tuple[int, int]:
        """Number of the newest write, and number of parts after it."""
        with self.database.reading() as connection:
            (number,) = connection.execute(
                "SELECT count(*) FROM parts WHERE bundle = ?", (self.bundle,)
            ).fetchone()
            return self._seq(connection), int(number)

    def changes(self, since: int, most: int) -> Changes:
        """What was written after a write, at most so many parts of it, in order."""
        with self.database.reading() as connection:
            seq = self._seq(connection)
            removed = connection.execute(
                "SELECT id FROM removed WHERE bundle = ? AND seq > ?", (self.bundle, since)
            ).fetchall()
            rows = connection.execute(
                f"SELECT id, {', '.join(FIELDS)}, descriptor, NULL, seq FROM parts "
                "WHERE bundle = ? AND seq > ? ORDER BY seq LIMIT ?",
                (self.bundle, since, most),
            ).fetchall()
        complete = len(rows) < most
        return Changes(
            seq if complete else int(rows[-1][-1]),
            complete,
            [self._part(row[:-1]) for row in rows],
            [name for (name,) in removed],
        )

    def forget_removed(self, seq: int) -> None:
        """Drop the record of what was removed up to a write: the index has taken it out."""
        with self.database.writing() as connection:
            connection.execute(
                "DELETE FROM removed WHERE bundle = ? AND seq <= ?", (self.bundle, seq)
            )

    def _seq(self, connection: sqlite3.Connection) -> int:
        row = connection.execute("SELECT seq FROM bundles WHERE bundle = ?", (self.bundle,))
        return int(row.fetchone()[0])

    def _take(self, connection: sqlite3.Connection, number: int) -> int:
        """The first of so many new sequence numbers."""
        first = self._seq(connection) + 1
        connection.execute(
            "UPDATE bundles SET seq = seq + ? WHERE bundle = ?", (number, self.bundle)
        )
        return first

    def _numbered(
        self, connection: sqlite3.Connection, checked: Sequence[Checked]
    ) -> Iterable[tuple[int, Checked]]:
        return enumerate(checked, self._take(connection, len(checked)))

    def _row(self, entry: Checked, seq: int) -> tuple[Any, ...]:
        identifier, vector, payload = entry
        fields = (payload[name] for name in FIELDS)
        return (identifier, self.bundle, seq, *fields, vector.tobytes())

    def _add_thumbnail(
        self, connection: sqlite3.Connection, entry: Checked, *, replace: bool = False
    ) -> None:
        identifier, _, payload = entry
        which = (self.bundle, identifier)
        if replace:
            connection.execute(
                "DELETE FROM thumbnails WHERE part = "
                "(SELECT part FROM parts WHERE bundle = ? AND id = ?)",
                which,
            )
        if payload["thumbnail"]:
            connection.execute(
                "INSERT INTO thumbnails (part, jpeg) "
                "SELECT part, ? FROM parts WHERE bundle = ? AND id = ?",
                (packed(payload["thumbnail"]), *which),
            )

    def _add_word(self, connection: sqlite3.Connection, entry: Checked) -> None:
        identifier, _, payload = entry
        if payload["confirmed"] or payload["confirmed_at"]:
            names = ("confirmed_by", "confirmed_at", "confirmed", "verdict")
            others = ("raw_score", "normalized_score", "confirmed_defect", "confirmed_note")
            connection.execute(
                "INSERT OR IGNORE INTO words "
                "(bundle, id, who, time, what, verdict, raw_score, normalized_score, defect, note) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (self.bundle, identifier, *(payload[name] for name in (*names, *others))),
            )

    def _parts(self, query: str, *values: Any) -> list[PartPoint]:
        with self.database.reading() as connection:
            return [self._part(row) for row in connection.execute(query, (self.bundle, *values))]

    def _part(self, row: Sequence[Any]) -> PartPoint:
        """A row of id, fields, descriptor and thumbnail."""
        identifier, *fields, descriptor, jpeg = row
        return PartPoint(
            point_id=identifier,
            bundle=self.bundle,
            embedding=unpacked(descriptor),
            thumbnail=base64.b64encode(jpeg).decode() if isinstance(jpeg, bytes) else jpeg or "",
            **dict(zip(FIELDS, fields, strict=True)),
        )
