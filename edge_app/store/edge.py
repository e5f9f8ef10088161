"""The store on the box itself: a Qdrant Edge shard, the Qdrant engine in this process, in a folder.

The engine keeps Python's global lock while it works: a query of a millisecond does not matter, but
:meth:`EdgeStore.optimize` stops every thread of the process for as long as it runs.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import qdrant_edge as qe

from edge_app.store import edge_records as records
from edge_app.store.base import Merged, Neighbor, PartPoint, SearchFilter
from edge_app.store.edge_index import INDEX_FROM, indexed, search_params
from edge_app.store.edge_log import DurableLog
from edge_app.store.edge_rewrite import lacking_room, rewrite, size_bytes
from edge_app.store.edge_shard import engine_errors, field_filter, open_shard
from edge_app.store.folder import SHARD_FOLDER, FolderLock, prepare
from edge_app.store.schema import (
    VECTOR_NAME,
    checked_embedding,
    checked_filter,
    checked_id,
    checked_number,
    checked_point,
    point_of,
)
from runtime.errors import StoreError

log = logging.getLogger("lineside")

# The engine writes into sparse memory-mapped files; on a full disk that is a bus error, not an
# exception.
RESERVE_MIB = 128
OPEN_RESERVE_MIB = 16
# From this share of deleted parts on a shard is written anew; the engine's own cleaning has the
# same threshold.
REWRITE_SHARE = 0.2


class EdgeStore:
    """A neighbour store in a folder, see :class:`edge_app.store.base.NeighbourStore`.

    Args:
        folder: the store's own folder (one bundle), created if missing.
        bundle: fingerprint of the model.
        embedding_length: length of its descriptors.
        create: False to refuse a store that does not exist yet.
        reserve_mib: free space in MiB that writing leaves on the disk.
        durable: False to leave writing to the disk to the system, for folders that are thrown away.
        on_close: called once after closing, e.g. to remove a temporary folder.

    Raises:
        StoreError: the folder is for another bundle, held by another process, or cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        *,
        bundle: str,
        embedding_length: int,
        create: bool = True,
        reserve_mib: int = RESERVE_MIB,
        durable: bool = True,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        self.folder = folder
        self.bundle = bundle
        self.embedding_length = embedding_length
        self._reserve_mib = reserve_mib
        self._writing = threading.Lock()
        self._closed = False
        self._durable = durable
        self._on_close = on_close
        is_new = not (folder / SHARD_FOLDER).exists()
        prepare(folder, bundle, embedding_length, create=create)
        self._lock = FolderLock(folder)
        try:
            # Reading needs next to none: a disk that has filled up must not keep the page and an
            # export from starting.
            self._check_space(
                self._reserve_mib if is_new else min(self._reserve_mib, OPEN_RESERVE_MIB)
            )
            self._shard = open_shard(folder / SHARD_FOLDER, embedding_length)
            self._log = DurableLog(self._shard, folder / SHARD_FOLDER)
            self._search_params = search_params(self.count())
        except BaseException:
            self._lock.release()
            raise

    def upsert(self, points: Sequence[PartPoint]) -> None:
        """Add points or replace those with the same id; on return they survive a power cut.

        Raises:
            StoreError: a point is unusable (nothing is written then), or the disk is full.
        """
        checked = [
            checked_point(point, self.bundle, self.embedding_length, stamp=True) for point in points
        ]
        if checked:
            with self._engine("write"):
                with self._writing:
                    ticket = self._apply([records.upsert(checked)], len(checked))
                self._sync(ticket)

    def merge(self, points: Sequence[PartPoint]) -> Merged:
        """Take over parts of another store, see :meth:`edge_app.store.base.NeighbourStore.merge`.

        Raises:
            StoreError: a point is unusable (nothing is written then), or the disk is full.
        """
        checked = [checked_point(point, self.bundle, self.embedding_length) for point in points]
        with self._engine("write"):
            with self._writing:
                operations, merged = records.merge(self._shard, points, checked)
                ticket = self._apply(operations, merged.added + merged.words)
            self._sync(ticket)
        return merged

    def search(
        self, embedding: npt.NDArray[np.float32], k: int = 5, where: SearchFilter | None = None
    ) -> list[Neighbor]:
        """The k most similar parts by cosine similarity, best first; fewer if the store holds fewer.

        Raises:
            StoreError: the descriptor or the filter is unusable, or the store is closed.
        """
        vector = checked_embedding(embedding, self.embedding_length)
        request = qe.QueryRequest(
            limit=checked_number(k, "k"),
            query=qe.Query.Nearest(vector.tolist(), using=VECTOR_NAME),
            filter=field_filter(checked_filter(where)),
            with_payload=True,
            params=self._search_params,
        )
        with self._engine("search"):
            found = self._shard.query(request)
        return [Neighbor(float(hit.score), point_of(hit.id, hit.payload)) for hit in found]

    def get(self, point_id: str) -> PartPoint | None:
        """One point with its descriptor, or None."""
        found = self.fetch([point_id])
        return found[0] if found else None

    def fetch(self, point_ids: Sequence[str], *, full: bool = True) -> list[PartPoint]:
        """Those of the points that are there; without ``full`` they lack descriptor and thumbnail."""
        wanted = [checked_id(value) for value in point_ids]
        with self._engine("read"):
            return records.read(self._shard, wanted, full=full)

    def scroll(
        self, where: SearchFilter | None = None, batch: int = 256, *, full: bool = True
    ) -> Iterator[list[PartPoint]]:
        """All parts that satisfy the filter, in lists, by id."""
        wanted, size = field_filter(checked_filter(where)), checked_number(batch, "batch")
        start: Any = None
        while True:
            with self._engine("read"):
                found, start = records.page(self._shard, wanted, start, size, full=full)
            if found:
                yield found
            if start is None:
                return

    def delete(self, point_ids: Sequence[str], *, keep_confirmed: bool = False) -> None:
        """Remove parts; on return they stay removed over a power cut. The disk gets its space from :meth:`shrink`."""
        wanted = [checked_id(value) for value in point_ids]
        if wanted:
            with self._engine("delete"):
                with self._writing:
                    # No check for space: this is how one gets some.
                    self._shard.update(records.delete(wanted, keep_confirmed=keep_confirmed))
                    ticket = self._log.wrote(len(wanted)) if self._durable else 0
                self._sync(ticket)

    def count(self, where: SearchFilter | None = None) -> int:
        """Number of stored parts that satisfy the filter, exact."""
        request = qe.CountRequest(exact=True, filter=field_filter(checked_filter(where)))
        with self._engine("count"):
            return int(self._shard.count(request))

    def optimize(self) -> bool:
        """Build the HNSW index over what was added since the last time, with int8 vectors where there are many parts.

        Does nothing below some 5,000 new parts; takes seconds to minutes above, during which no
        other thread of this process runs. Call it from a command, while no other thread uses the
        store. Killed in the middle, it is begun anew next time.

        Returns:
            whether there was anything to do; False also where the disk has no room for it, which is
            said.
        """
        path, number = self.folder / SHARD_FOLDER, self.count()
        with self._writing, self._engine("optimise"):
            if number - self._shard.info().indexed_vectors_count < INDEX_FROM:
                return False
            self._shard.flush()
            lacking = lacking_room(path)
            if lacking:
                log.info(f"{lacking}; searching stays slower until then")
                return False
            log.info(f"{self.folder}: building the search index over {number} parts")
            self._shard = indexed(self._shard, path, self.embedding_length, number)
            self._search_params = search_params(number)
            self._log = DurableLog(self._shard, path)
        return True

    def shrink(self, removed: int) -> None:
        """Give the space of deleted parts back to the disk; call it from a command, while no other thread uses the store.

        Where a fifth or more was deleted the shard is written anew; otherwise the engine cleans
        those of its segments that lost as much, so that pruning a little every night does not wear
        the disk out.

        Args:
            removed: number of parts deleted since the last time.

        Raises:
            StoreError: the disk has no room for a second copy of what is left.
        """
        path = self.folder / SHARD_FOLDER
        left = self.count()
        share = left / max(1, left + removed)
        with self._writing, self._engine("shrink"):
            self._shard.flush()
            lacking = lacking_room(path, share)
            if lacking:
                raise StoreError(lacking)
            if 1 - share < REWRITE_SHARE:
                self._shard.optimize()
                self._shard.flush()
                return
            rewrite(self._shard, path, self.embedding_length)
            self._shard = open_shard(path, self.embedding_length)
            self._log = DurableLog(self._shard, path)

    def disk_bytes(self) -> int:
        """Bytes that the store takes up on the disk."""
        return size_bytes(self.folder)

    def close(self) -> None:
        """Flush, release the folder; a second call does nothing."""
        with self._writing:
            if self._closed:
                return
            self._closed = True
            try:
                self._shard.flush()
                self._shard.close()
            except Exception as error:
                raise StoreError(
                    f"{self.folder}: expected to close the store, found {error}; check the disk"
                ) from error
            finally:
                self._lock.release()
                if self._on_close is not None:
                    self._on_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _apply(self, operations: Sequence[qe.UpdateOperation], size: int) -> int:
        """Give operations to the engine while holding the lock; returns a ticket for :meth:`_sync`."""
        if not operations:
            return 0
        self._check_space(self._reserve_mib)
        for operation in operations:
            self._shard.update(operation)
        return self._log.wrote(size) if self._durable else 0

    def _sync(self, ticket: int) -> None:
        # Outside the lock, so that threads that wait at the same time share one sync.
        if ticket:
            self._log.sync(ticket)

    def _check_space(self, least_mib: int) -> None:
        free_mib = shutil.disk_usage(self.folder).free >> 20
        if free_mib < least_mib:
            raise StoreError(
                f"{self.folder}: expected at least {least_mib} MiB free on the disk, found "
                f"{free_mib} MiB; free some space"
            )

    @contextmanager
    def _engine(self, doing: str) -> Iterator[None]:
        """One line for whatever goes wrong in the engine, a closed store included."""
        if self._closed:
            raise StoreError(
                f"{self.folder}: expected an open store, found a closed one; open it again"
            )
        with engine_errors(self.folder, doing):
            yield
