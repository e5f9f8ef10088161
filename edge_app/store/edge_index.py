"""The search index of a bundle's descriptors: made from the records, and thrown away at any doubt.

STORE/index/<bundle key>/lock      held by the one process that uses the index
STORE/index/<bundle key>/current/  the shard, see :mod:`edge_app.store.shard`
STORE/index/<bundle key>/next-*/   one that is being built

Other processes, and this one while there is no index, search the records themselves.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from edge_app.records import Database, PartRecords
from edge_app.store.schema import SearchFilter, bundle_key
from edge_app.store.shard import Shard
from runtime.errors import StoreError
from runtime.types import Embedding

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

log = logging.getLogger("lineside")

LOCK_FILE = "lock"
INDEX_FOLDER = "index"
# Writes that a search takes in before it looks; more are for optimize.
FEW = 5_000
# The engine writes into sparse memory-mapped files; on a full disk that is a bus error, not an
# exception.
RESERVE_MIB = 64
_BATCH = 1_000
# Parts between two flushes: bounds the engine's log.
_FLUSH_EVERY = 10_000
# Of a part in the index: descriptor, int8 copy, graph, fields, log; and what an empty one takes.
_PART_BYTES, _EMPTY_MIB = 600, 32


class DescriptorIndex:
    """The index of one bundle. Safe to use from several threads.

    Nothing is opened or built before it is needed.

    Args:
        records: of the bundle.
    """

    def __init__(self, records: PartRecords) -> None:
        self._records = records
        self.folder = records.database.path.parent / INDEX_FOLDER / bundle_key(records.bundle)
        self._current = self.folder / "current"
        self._using = threading.RLock()
        self._lock = FolderLock(self.folder)
        self._shard: Shard | None = None
        self._opened = self._checked = False
        self._in_background = False
        self._builder: tuple[subprocess.Popen[bytes], Path] | None = None

    def search(
        self, embedding: Embedding, k: int, where: SearchFilter
    ) -> list[tuple[str, float]] | None:
        """(id, similarity) of the k nearest parts, best first; None: search the records."""
        with self._using:
            try:
                shard = self._followed(FEW)
                if shard is not None:
                    return shard.search(embedding, k, where)
            except (KeyboardInterrupt, SystemExit):
                raise
            # A panic of the engine is no Exception but a BaseException.
            except BaseException as error:
                self._drop(error)
        return None

    def optimize(self, *, wait: bool) -> bool:
        """Build what searching needs to be fast.

        Args:
            wait: False to let another process do it, now and from now on.

        Returns:
            whether there was anything to do; False also where the disk has no room for it, which is
            said, or another process has the index.
        """
        self._in_background = self._in_background or not wait
        with self._using:
            # Where it turns out to be damaged it is built anew at once.
            for _ in range(2):
                try:
                    return self._optimized(wait=wait)
                except (KeyboardInterrupt, SystemExit):
                    raise
                except BaseException as error:
                    self._drop(error)
        return False

    def lag(self) -> int:
        """Number of writes that the index has not taken in; nothing is opened for it."""
        shard = self._shard
        return max(0, self._records.seq() - (0 if shard is None else shard.seq))

    def rebuild(self) -> None:
        """Build it anew, which gives space back to the disk."""
        with self._using:
            if self._current.exists() and self._lock.take():
                self._drop("parts were removed")
                self.optimize(wait=True)

    def close(self) -> None:
        """Stop building, flush, release."""
        with self._using:
            if self._builder is not None:
                process, building = self._builder
                process.kill()
                process.wait()
                shutil.rmtree(building, ignore_errors=True)
                self._builder = None
            if self._shard is not None:
                try:
                    self._shard.close()
                # Whatever is wrong with it, it is seen when it is opened.
                except Exception as error:
                    self._drop(error)
                else:
                    with suppress(StoreError):
                        self._records.forget_removed(self._shard.seq)
                self._shard = None
            self._lock.release()

    def _optimized(self, *, wait: bool) -> bool:
        shard = self._followed(sys.maxsize if wait else FEW)
        if shard is None:
            return self._builder is not None
        if not shard.lacks_graph():
            return False
        if not wait:
            return self._start_building()
        if not self._has_room(shard.count()):
            return False
        log.info(f"{self.folder}: building the search index over {shard.count()} parts")
        shard.build_graph()
        return True

    def _followed(self, most: int) -> Shard | None:
        """The shard as new as the records; None if another process has it or it lags by more."""
        if not self._lock.take():
            return None
        self._open()
        self._adopt()
        lag = self._records.seq() - (0 if self._shard is None else self._shard.seq)
        if lag == 0 and self._shard is not None and self._checked:
            return self._shard
        if lag > most:
            if self._in_background:
                self._start_building()
            return None
        if self._shard is None:
            if not self._has_room(0):
                return None
            shutil.rmtree(self._current, ignore_errors=True)
            self._shard = Shard.create(self._current, self._records.embedding_length, 0)
            self._shard.flush()
        _follow(self._shard, self._records)
        seq, number = self._records.extent()
        if seq == self._shard.seq and number != self._shard.count():
            raise StoreError(f"expected {number} parts, found {self._shard.count()}")
        self._checked = True
        return self._shard

    def _open(self) -> None:
        if self._opened:
            return
        self._opened = True
        for left in self.folder.glob("next-*"):
            shutil.rmtree(left, ignore_errors=True)
        if self._current.exists():
            self._shard = Shard.open(self._current, self._records.embedding_length)

    def _drop(self, why: object) -> None:
        """Throw the index away: it is built anew from the records."""
        log.info(f"{self.folder}: the search index is thrown away and built anew ({_line(why)})")
        if self._shard is not None:
            self._shard.abandon()
            self._shard = None
        shutil.rmtree(self._current, ignore_errors=True)

    def _start_building(self) -> bool:
        """Let another process build a new shard from the records; whether one does."""
        if self._builder is not None or not self._has_room(self._records.extent()[1]):
            return self._builder is not None
        building = Path(tempfile.mkdtemp(prefix="next-", dir=self.folder))
        store = self._records.database.path.parent
        arguments = (store, self._records.bundle, self._records.embedding_length, building)
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "edge_app.store.edge_index", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
        )
        self._builder = process, building
        return True

    def _adopt(self) -> None:
        """Take what the other process has built, once it is done."""
        if self._builder is None or self._builder[0].poll() is None:
            return
        process, building = self._builder
        self._builder = None
        if process.returncode == 0:
            self._exchange(building)
            return
        log.warning(f"{self.folder}: the search index could not be built; searching stays slower")
        # Once more would most likely end alike; the next start tries again.
        self._in_background = False
        shutil.rmtree(building, ignore_errors=True)

    def _exchange(self, building: Path) -> None:
        if self._shard is not None:
            self._shard.abandon()
            self._shard = None
        shutil.rmtree(self._current, ignore_errors=True)
        (building / "built").rename(self._current)
        building.rmdir()
        self._checked = False
        self._shard = Shard.open(self._current, self._records.embedding_length)

    def _has_room(self, parts: int) -> bool:
        vectors = parts * (_PART_BYTES + 8 * self._records.embedding_length) >> 20
        needed_mib = RESERVE_MIB + (vectors + _EMPTY_MIB if parts else 0)
        free_mib = shutil.disk_usage(self.folder).free >> 20
        if free_mib >= needed_mib:
            return True
        log.info(
            f"{self.folder}: expected {needed_mib} MiB free on the disk for the search index, "
            f"found {free_mib} MiB; free some space, searching stays slower until then"
        )
        return False


class FolderLock:
    """Exclusive use of a folder by one object of one process.

    Args:
        folder: made when the lock is first taken.
        name: of the file in it.
    """

    def __init__(self, folder: Path, name: str = LOCK_FILE) -> None:
        self._folder, self._name = folder, name
        self._handle = -1
        self.is_held = False

    def take(self) -> bool:
        """Take it if it is free and the folder can be written; whether it is held now."""
        if self.is_held:
            return True
        try:
            if self._handle < 0:
                self._folder.mkdir(parents=True, exist_ok=True)
                flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
                self._handle = os.open(self._folder / self._name, flags, 0o644)
            if sys.platform == "win32":
                msvcrt.locking(self._handle, msvcrt.LK_NBLCK, 1)
            else:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        self.is_held = True
        return True

    def release(self) -> None:
        """Let go; the file stays: if it went, two processes could lock two different ones."""
        if self._handle >= 0:
            os.close(self._handle)
        self._handle = -1
        self.is_held = False


def build(records: PartRecords, folder: Path) -> None:
    """Make a shard of the records, with its graph where that pays, and close it.

    Args:
        records: of the bundle; others may write to them meanwhile.
        folder: does not exist yet.

    Raises:
        StoreError: the disk is nearly full, or the records cannot be read.
    """
    shard = Shard.create(folder, records.embedding_length, records.extent()[1])
    _follow(shard, records)
    if shard.lacks_graph():
        shard.build_graph()
    shard.close()


def _follow(shard: Shard, records: PartRecords) -> None:
    """Take in what the records have and the shard has not."""
    waiting = 0
    while True:
        free_mib = shutil.disk_usage(records.database.path.parent).free >> 20
        if free_mib < RESERVE_MIB:
            raise StoreError(f"expected {RESERVE_MIB} MiB free on the disk, found {free_mib}")
        found = records.changes(shard.seq, _BATCH)
        shard.apply(found.seq, found.parts, found.removed)
        if found.complete:
            return
        waiting += len(found.parts)
        if waiting >= _FLUSH_EVERY:
            shard.flush()
            waiting = 0


def _line(why: object) -> str:
    return (str(why).strip().splitlines() or [type(why).__name__])[0][:200]


def _main(folder: str, bundle: str, embedding_length: str, building: str) -> None:
    with suppress(AttributeError, OSError):
        # The line's parts come first.
        os.nice(10)
    database = Database(Path(folder))
    try:
        build(PartRecords(database, bundle, int(embedding_length)), Path(building) / "built")
    except BaseException as error:
        raise SystemExit(f"lineside: {building}: {_line(error)}") from error
    finally:
        database.close()


if __name__ == "__main__":
    _main(*sys.argv[1:])
