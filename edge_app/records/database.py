"""The file ``records.db``: many readers, one writer, in as many threads and processes as there are.

What a block of :meth:`Database.writing` has written survives a power cut once the block has ended:
SQLite's write-ahead log is synced at every commit.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from edge_app.records.tables import MIGRATIONS
from runtime.errors import StoreError

log = logging.getLogger("lineside")

RECORDS_FILE = "records.db"
# How long a writer waits for the writers of other processes.
PATIENCE_S = 30
_DAMAGE = frozenset({"SQLITE_CORRUPT", "SQLITE_NOTADB"})
_UNWRITABLE = frozenset({"SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM"})
_FULL = frozenset({"SQLITE_FULL", "SQLITE_IOERR"})
Value = TypeVar("Value")


class Database:
    """An open ``records.db``. Safe to use from several threads; other processes may use it, too.

    A damaged file is set aside and a new one begun, which is said. A file that cannot be written,
    as on a read-only disk, is opened for reading.

    Args:
        folder: where the file lies or will lie, created if missing.
        durable: False to leave writing to the disk to the system, for folders that are thrown away.

    Raises:
        StoreError: the folder cannot be written and holds no records, or they are of a newer
            version.
    """

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        self.path = folder / RECORDS_FILE
        self._durable = durable
        self._idle: list[sqlite3.Connection] = []
        self._writing = threading.Lock()
        self._closed = threading.Event()
        self._uri = f"file:{_escaped(self.path)}"
        with self._errors("open"):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreError(unwritable(folder, str(error.strerror))) from error
            try:
                self._prepare()
            except sqlite3.DatabaseError as error:
                if _kind(error) not in _DAMAGE:
                    raise
                self._set_aside(error)
                self._prepare()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees the records as they are at its first statement.

        Raises:
            StoreError: they cannot be read.
        """
        with self._errors("read"), self._connection() as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.rollback()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A connection that alone may write; what it wrote is there as a whole or not at all.

        Raises:
            StoreError: nothing was written.
        """
        # Threads wait in line; only processes have to try again and again.
        with self._writing, self._errors("write"), self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.commit()
            except BaseException:
                connection.rollback()
                raise

    def shrink(self) -> None:
        """Give the space of what was deleted back to the disk."""
        with self._errors("shrink"), self._connection() as connection:
            # A script, for it has no rows: execute would stop at the first page.
            connection.executescript("PRAGMA incremental_vacuum;")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Close the connections; a second call does nothing."""
        self._closed.set()
        while self._idle:
            self._idle.pop().close()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection that no other thread uses meanwhile."""
        if self._closed.is_set():
            raise StoreError(
                f"{self.path.parent}: expected an open store, found a closed one; open it again"
            )
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._connect()
        try:
            yield connection
        finally:
            if self._closed.is_set():
                connection.close()
            else:
                self._idle.append(connection)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._uri,
            uri=True,
            timeout=PATIENCE_S,
            isolation_level=None,
            check_same_thread=False,
        )
        connection.execute(f"PRAGMA synchronous = {'FULL' if self._durable else 'OFF'}")
        connection.execute("PRAGMA foreign_keys = ON")
        return connection

    def _prepare(self) -> None:
        try:
            self._migrate()
        except sqlite3.OperationalError as error:
            if _kind(error) not in _UNWRITABLE or not self.path.is_file():
                raise
            # Where not even the log's shared memory can be made nobody writes, so that reading
            # needs no locks.
            self._uri += "?mode=ro" if self._readable("?mode=ro") else "?mode=ro&immutable=1"
            self._check_version(self._version())

    def _readable(self, options: str) -> bool:
        try:
            connection = sqlite3.connect(self._uri + options, uri=True)
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            connection.close()
        except sqlite3.OperationalError:
            return False
        return True

    def _migrate(self) -> None:
        with self._connection() as connection:
            if self._check_version(self._version(connection)):
                return
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            _patiently(lambda: connection.execute("PRAGMA journal_mode = WAL").fetchone())
            connection.execute("BEGIN IMMEDIATE")
            try:
                # Again, for another process may have been quicker.
                for statements in MIGRATIONS[self._version(connection) :]:
                    for statement in statements:
                        connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
                connection.commit()
            except BaseException:
                connection.rollback()
                raise

    def _version(self, connection: sqlite3.Connection | None = None) -> int:
        if connection is None:
            with self._connection() as own:
                return self._version(own)
        return int(connection.execute("PRAGMA user_version").fetchone()[0])

    def _check_version(self, version: int) -> bool:
        """Whether the file is of this version; False if it is older.

        Raises:
            StoreError: it is newer.
        """
        if version > len(MIGRATIONS):
            raise StoreError(
                f"{self.path}: expected records of version {len(MIGRATIONS)}, found {version}; "
                "type: pip install --upgrade lineside"
            )
        return version == len(MIGRATIONS)

    def _set_aside(self, error: sqlite3.DatabaseError) -> None:
        while self._idle:
            self._idle.pop().close()
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
        target = self.path.with_name(f"{RECORDS_FILE}.corrupt-{stamp}")
        self.path.rename(target)
        for ending in ("-wal", "-shm"):
            journal = self.path.with_name(RECORDS_FILE + ending)
            if journal.exists():
                journal.rename(target.with_name(target.name + ending))
        log.warning(
            f"{self.path}: the records are damaged ({error}); they were set aside as {target.name} "
            "and new ones begun; index the pictures again: "
            f"lineside index BUNDLE --images DIR --store {self.path.parent}"
        )

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreError(self._sentence(doing, error)) from error

    def _sentence(self, doing: str, error: Exception) -> str:
        kind = _kind(error)
        if kind in _UNWRITABLE or kind in _FULL:
            return unwritable(self.path.parent, str(error), full=kind in _FULL)
        advice = "check the disk"
        if kind in _DAMAGE:
            advice = "move the file away and index the pictures again: lineside index"
        elif kind in ("SQLITE_BUSY", "SQLITE_LOCKED"):
            advice = "another process has been writing for long; try again"
        return f"{self.path}: expected to {doing} the records, found '{error}'; {advice}"


def unwritable(folder: Path, found: str, *, full: bool = False) -> str:
    """One line for a folder that cannot be written."""
    advice = (
        "free some space" if full else "choose another folder with --store, or change its owner"
    )
    return f"{folder}: expected a folder that can be written, found '{found}'; {advice}"


def _escaped(path: Path) -> str:
    return str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _kind(error: BaseException) -> str:
    """SQLite's name of an error without its detail, e.g. ``SQLITE_IOERR``."""
    return "_".join(str(getattr(error, "sqlite_errorname", "")).split("_")[:2])


def _patiently(ask: Callable[[], Value]) -> Value:
    """Ask again while another process makes the file: SQLite does not wait there by itself."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            return ask()
        except sqlite3.OperationalError as error:
            if _kind(error) != "SQLITE_BUSY" or time.monotonic() > until:
                raise
            time.sleep(0.01)
