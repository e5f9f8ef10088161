"""Whether a store opens, is whole, and how far its search index is behind. Nothing is changed."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from edge_app.records import RECORDS_FILE
from edge_app.records.tables import MIGRATIONS
from edge_app.store.location import is_server
from runtime.doctor import Finding, guarded
from runtime.errors import StoreError, require_extra

# Reading every page of a larger file takes longer than somebody waits.
_READ_MIB = 1024
# From this number of writes on a search no longer takes them in by itself (edge_index.FEW).
_LAG = 5_000
_AHEAD_S = 3600.0


def store_findings(location: str) -> Iterator[Finding]:
    """Look at a store without changing it: an older one is not taken over, a damaged one stays.

    Args:
        location: a folder or a server, as for :func:`edge_app.store.location.open_store`.
    """
    yield from guarded("store", _server(location) if is_server(location) else _folder(location))


def _server(location: str) -> Iterator[Finding]:
    require_extra("neighbours", "qdrant_client")
    from edge_app.store.collection import COLLECTION_PREFIX
    from edge_app.store.connect import check_version, connect, server_errors

    with closing(connect(location)) as client, server_errors(location, "list collections"):
        start = time.monotonic()
        check_version(client, location)
        names = [entry.name for entry in client.get_collections().collections]
        took = 1000.0 * (time.monotonic() - start)
    ours = sum(name.startswith(COLLECTION_PREFIX) for name in names)
    yield Finding("store", "ok", f"{location}: answers in {took:.0f} ms, holds {ours} bundles")


def _folder(location: str) -> Iterator[Finding]:
    folder = Path(location)
    path = folder / RECORDS_FILE
    if "://" in location or location == "memory:" or not location.strip():
        raise StoreError(f"store: expected a folder or http://HOST:6333, found {location!r}")
    if not path.is_file():
        old = bool(list(folder.glob("store.json")) + list(folder.glob("*/store.json")))
        found = "one of version 0.1, taken over when it is next opened" if old else "none yet"
        yield Finding("store", "ok", f"{location}: {found}")
        return
    damaged = (
        f"move {path} away and index again: lineside index BUNDLE --images DIR --store {folder}"
    )
    try:
        with closing(_connected(path)) as connection:
            yield from _contents(folder, path, connection)
    except sqlite3.OperationalError as error:
        raise StoreError(
            f"{path}: expected records that can be read, found '{error}'; check the owner of the "
            "file, and whether another program holds it"
        ) from error
    except sqlite3.DatabaseError as error:
        raise StoreError(
            f"{path}: expected sound records, found them damaged ({error}); {damaged}"
        ) from error


def _connected(path: Path) -> sqlite3.Connection:
    # Only to read: a doctor changes nothing, and a station may be writing.
    quoted = path.absolute().as_uri()
    return sqlite3.connect(f"{quoted}?mode=ro", uri=True, timeout=10.0, isolation_level=None)


def _contents(folder: Path, path: Path, connection: sqlite3.Connection) -> Iterator[Finding]:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > len(MIGRATIONS):
        raise StoreError(
            f"{path}: expected records of version {len(MIGRATIONS)}, found {version}; type: "
            "pip install --upgrade lineside"
        )
    size = path.stat().st_size >> 20
    if size <= _READ_MIB:
        told = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
        if told != "ok":
            raise sqlite3.DatabaseError(told)
    held = [_Held(*row) for row in connection.execute(_COUNTS)]
    parts = ", ".join(f"{one.parts:,} of bundle {one.bundle[:8]}" for one in held) or "no parts"
    read = "" if size <= _READ_MIB else f"; {size:,} MiB, so not every page was read"
    yield Finding("store", "ok", f"{path}: {parts}{read}")
    if version < len(MIGRATIONS):
        yield Finding(
            "store",
            "warning",
            f"{path}: records of version {version}; the next start brings them to "
            f"{len(MIGRATIONS)}, and an older Lineside then refuses them",
            f"keep a copy to go back to: cp -r {folder} {folder}.before",
        )
    for one in held:
        yield from _ahead(path, one)
        yield from _lag(folder, one)


@dataclass(frozen=True)
class _Held:
    bundle: str
    seq: int
    parts: int
    newest: str


_COUNTS = """SELECT bundle, bundles.seq, count(part), coalesce(max(time), '')
    FROM bundles LEFT JOIN parts USING (bundle) GROUP BY bundle ORDER BY bundle"""


def _ahead(path: Path, held: _Held) -> Iterator[Finding]:
    try:
        newest = datetime.fromisoformat(held.newest)
    except ValueError:
        return
    now = datetime.now(UTC)
    if newest.tzinfo is not None and (newest - now).total_seconds() > _AHEAD_S:
        yield Finding(
            "clock",
            "fault",
            f"{path}: its newest part is of {held.newest}, which is still to come by this clock",
            "set the clock before anything is pruned: timedatectl set-ntp true",
        )


def _lag(folder: Path, held: _Held) -> Iterator[Finding]:
    from edge_app.store.edge_index import INDEX_FOLDER
    from edge_app.store.schema import bundle_key
    from edge_app.store.shard import STATE_FILE, State
    from runtime.decode import read_json

    if not held.parts:
        return
    state = folder / INDEX_FOLDER / bundle_key(held.bundle) / "current" / STATE_FILE
    seq = 0
    if state.is_file():
        advice = "it is built anew from the records"
        seq = read_json(state, State, error=StoreError, advice=advice).seq
    lag = max(0, held.seq - seq)
    told = f"{folder}: the search index of {held.bundle[:8]} lacks {lag:,} of {held.seq:,} writes"
    if lag < _LAG:
        yield Finding("store", "ok", told)
    else:
        yield Finding(
            "store",
            "warning",
            f"{told}, so that searching is slower",
            "a running station builds it in the background; else the next lineside index does",
        )
