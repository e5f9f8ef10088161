"""Making acknowledged writes survive a power cut at the price of one sync instead of a dozen.

Qdrant Edge appends every update to its write-ahead log before it touches anything else, and plays
the log back when a shard is opened. Its ``flush`` brings everything to the disk, about twelve syncs
during which no Python thread runs: 4 ms on an idle disk and 200 ms on a busy one, measured. So only
the log is synced after each write, outside Python's lock, and the engine flushes now and then,
which also lets it shorten the log.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import qdrant_edge as qe

LOG_FOLDER = "wal"
# Operations in the log before the engine flushes: bounds the log's size and the time it takes to
# play it back.
FLUSH_EVERY = 1000
# Linux promises that fsync writes back pages changed through a memory map, which is how the engine
# writes its log.
_LOG_SYNC = sys.platform == "linux"


class DurableLog:
    """Decides what to sync after a write. Threads that wait at the same time share one sync.

    Args:
        shard: the open shard.
        path: its folder.
    """

    def __init__(self, shard: qe.EdgeShard, path: Path) -> None:
        self._shard = shard
        self._folder = path / LOG_FOLDER
        self._syncing = threading.Lock()
        self._written = 0
        self._synced = 0
        self._flushed = 0

    def wrote(self, operations: int) -> int:
        """Count what was just given to the engine; call it while no other thread writes.

        Returns:
            a ticket for :meth:`sync`.
        """
        self._written += operations
        if not _LOG_SYNC or self._written - self._flushed >= FLUSH_EVERY:
            self._shard.flush()
            self._flushed = self._synced = self._written
        return self._written

    def sync(self, ticket: int) -> None:
        """Return when everything up to a ticket survives a power cut.

        Raises:
            OSError: the disk failed.
        """
        with self._syncing:
            if self._synced >= ticket:
                return
            upto = self._written
            for file in (*sorted(self._folder.iterdir()), self._folder):
                _fsync(file)
            self._synced = max(self._synced, upto)


def _fsync(path: Path) -> None:
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        # The engine renames or drops segments of the log while another thread writes; the folder is
        # synced too.
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
