"""The store on the box itself: records in SQLite, and a search index of their descriptors.

STORE/records.db   what is known of the parts, see :mod:`edge_app.records`
STORE/index/       made from it, see :mod:`edge_app.store.edge_index`; may be lost at any time

Several processes may have a store open: one writes at a time, all read, and one has the index.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from edge_app.records import RECORDS_FILE, Database, PartRecords
from edge_app.records.database import unwritable
from edge_app.records.takeover import old_stores, take_over
from edge_app.store.edge_index import INDEX_FOLDER, DescriptorIndex
from edge_app.store.neighbor_store import NeighborStore
from edge_app.store.schema import (
    Checked,
    Merged,
    Neighbor,
    PartPoint,
    Place,
    SearchFilter,
    Word,
)
from runtime.errors import StoreError
from runtime.types import Embedding

# Free space that writing leaves on the disk.
RESERVE_MIB = 128
# From this share of deleted parts on the index is built anew.
REBUILD_SHARE = 0.2


class EdgeStore(NeighborStore):
    """A neighbor store in a folder: what is written survives a power cut.

    Args:
        folder: the store, for all bundles; created if missing.
        bundle: fingerprint of the model.
        embedding_length: length of its descriptors.
        create: False to refuse a bundle of which nothing is stored yet.
        reserve_mib: free space in MiB that writing leaves on the disk.
        durable: False to leave writing to the disk to the system, for folders that are thrown away.
        on_close: called once after closing, e.g. to remove a temporary folder.

    Attributes:
        records: what is known of the parts, words and events included.

    Raises:
        StoreError: the folder cannot be used, or holds descriptors of another length.
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
        super().__init__(bundle, embedding_length)
        self.folder = folder
        self._reserve_mib = reserve_mib
        self._on_close = on_close
        old = [path for path, found in old_stores(folder) if found.bundle == bundle]
        if not create and not old and not (folder / RECORDS_FILE).is_file():
            raise StoreError(
                f"{folder}: expected parts indexed with bundle {bundle[:16]}, found none; "
                f"type: lineside index BUNDLE --images DIR --store {folder}"
            )
        database = Database(folder, durable=durable)
        try:
            self.records = PartRecords(
                database, bundle, embedding_length, create=create or bool(old)
            )
            for path in old:
                take_over(path, self.records)
        except BaseException:
            database.close()
            raise
        self._index = DescriptorIndex(self.records)

    def optimize(self, *, wait: bool = True) -> bool:
        """Bring the index up to date, with a graph over the descriptors where there are many.

        Does nothing below some 5,000 new parts; takes seconds to minutes above, during which no
        other thread of this process runs. Killed in the middle, it is begun anew next time.

        Args:
            wait: False to let another process do it, now and whenever the index has been lost;
                searches are exact meanwhile, and slower.

        Returns:
            whether there was anything to do; False also where the disk has no room for it, which is
            said, and where another process has the index.
        """
        return self._index.optimize(wait=wait)

    def lag(self) -> int:
        """As :meth:`NeighborStore.lag`; all of them where another process has the index."""
        return self._index.lag()

    def shrink(self, removed: int) -> None:
        """Give the space of deleted parts back to the disk.

        Args:
            removed: number of parts deleted since the last time.

        Raises:
            StoreError: the disk has no room for what must be moved.
        """
        self.records.database.shrink()
        if removed >= REBUILD_SHARE * (self.count() + removed):
            self._index.rebuild()

    def disk_bytes(self) -> int:
        """Bytes that the store takes up on the disk, other bundles included."""
        files = [*self.folder.glob(f"{RECORDS_FILE}*"), *(self.folder / INDEX_FOLDER).rglob("*")]
        total = 0
        for file in files:
            try:
                found = file.lstat()
            except FileNotFoundError:
                continue
            # The engine's files have holes.
            total += getattr(found, "st_blocks", -(-found.st_size // 512)) * 512
        return total

    def close(self) -> None:
        """Release the folder; a second call does nothing."""
        self._index.close()
        self.records.database.close()
        if self._on_close is not None:
            self._on_close()
            self._on_close = None

    def _upsert(self, checked: Sequence[Checked]) -> None:
        if checked:
            self._check_space()
            self.records.upsert(checked)

    def _merge(self, checked: Sequence[Checked]) -> Merged:
        self._check_space()
        return self.records.merge(checked)

    def _search(self, embedding: Embedding, k: int, where: SearchFilter) -> list[Neighbor]:
        # The index knows no scores.
        by_score = where.min_score is not None or where.max_score is not None
        found = None if by_score else self._index.search(embedding, k, where)
        if found is None:
            return self.records.search(embedding, k, where)
        return self.records.neighbors(found)

    def _fetch(self, point_ids: Sequence[str], *, full: bool) -> list[PartPoint]:
        return self.records.fetch(point_ids, full=full)

    def _scroll(self, where: SearchFilter, batch: int, *, full: bool) -> Iterator[list[PartPoint]]:
        last = ""
        while found := self.records.page(where, last, batch, full=full):
            yield found
            last = found[-1].point_id

    def _recent(self, where: SearchFilter, before: Place | None, size: int) -> list[PartPoint]:
        return self.records.recent(where, before, size)

    def _words(self, point_id: str) -> list[Word]:
        return self.records.words(point_id)

    def _delete(self, point_ids: Sequence[str], *, keep_confirmed: bool) -> None:
        # No check for space: this is how one gets some.
        self.records.delete(point_ids, keep_confirmed=keep_confirmed)

    def _count(self, where: SearchFilter) -> int:
        return self.records.count(where)

    def _check_space(self) -> None:
        try:
            free_mib = shutil.disk_usage(self.folder).free >> 20
        except OSError as error:
            raise StoreError(unwritable(self.folder, str(error.strerror))) from error
        if free_mib < self._reserve_mib:
            raise StoreError(
                f"{self.folder}: expected at least {self._reserve_mib} MiB free on the disk, found "
                f"{free_mib} MiB; free some space"
            )
