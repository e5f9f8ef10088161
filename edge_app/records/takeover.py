"""Taking over a store folder of version 0.1, whose parts lie in a Qdrant Edge shard.

Each bundle had a folder with ``store.json``, ``lock`` and ``shard``. Its parts are merged into the
records; then the two files are renamed to ``store.json.v1`` and ``shard.v1``, and stay. Merging
again changes nothing, so what was cut short is simply begun anew.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import qdrant_edge as qe

from edge_app.records import PartRecords
from edge_app.store.edge_index import FolderLock
from edge_app.store.schema import VECTOR_NAME, PartPoint, checked_point, point_of
from runtime.decode import read_json
from runtime.errors import StoreError

log = logging.getLogger("lineside")

_STORE_FILE, _SHARD = "store.json", "shard"
_VERSION = 1
_BATCH = 500


@dataclass(frozen=True)
class OldStore:
    """What ``store.json`` says.

    Attributes:
        bundle: fingerprint of the model.
        embedding_length: length of its descriptors.
    """

    bundle: str
    embedding_length: int


def old_stores(location: Path) -> list[tuple[Path, OldStore]]:
    """Folders of version 0.1 that are still to be taken over.

    Args:
        location: the store, or one of its bundles' folders, as somebody may have copied one.

    Raises:
        StoreError: a ``store.json`` is damaged, or of another version.
    """
    advice = "move the folder away and index again: lineside index"
    return [
        (
            file.parent,
            read_json(file, OldStore, error=StoreError, advice=advice, version=_VERSION),
        )
        for file in (location / _STORE_FILE, *sorted(location.glob(f"*/{_STORE_FILE}")))
        if file.is_file()
    ]


def take_over(folder: Path, records: PartRecords) -> None:
    """Bring the parts of an old folder, words included, into the records.

    Args:
        folder: from :func:`old_stores`.
        records: of the same bundle and length.

    Raises:
        StoreError: another process has the folder open, or its parts cannot be read; it stays as it
            is then.
    """
    lock = FolderLock(folder)
    if not lock.take():
        raise StoreError(
            f"{folder}: expected a store of version 0.1 that nobody has open, found it held by "
            "another process; stop that process and open the store again"
        )
    try:
        number = sum(_merged(records, points) for points in _points(_shard_of(folder)))
        for name in (_SHARD, _STORE_FILE):
            if (folder / name).exists():
                (folder / name).rename(folder / f"{name}.v1")
        log.info(
            f"{folder}: {number} parts of version 0.1 were taken over into "
            f"{records.database.path}; the old ones stay in {_SHARD}.v1, which may be deleted"
        )
    finally:
        lock.release()


def _merged(records: PartRecords, points: list[PartPoint]) -> int:
    records.merge(
        [checked_point(point, records.bundle, records.embedding_length) for point in points]
    )
    return len(points)


def _shard_of(folder: Path) -> Path:
    """The shard, put back where version 0.1 was killed while it exchanged it for another."""
    shard, replaced = folder / _SHARD, folder / f"{_SHARD}.replaced"
    if not shard.exists() and replaced.exists():
        replaced.rename(shard)
    for left in (replaced, folder / f"{_SHARD}.rewriting", folder / f"{_SHARD}.new"):
        shutil.rmtree(left, ignore_errors=True)
    return shard


def _points(path: Path) -> Iterator[list[PartPoint]]:
    if not path.exists():
        return
    try:
        shard = qe.EdgeShard.load(str(path))
        try:
            start: Any = None
            while True:
                request = qe.ScrollRequest(
                    offset=start, limit=_BATCH, with_payload=True, with_vector=True
                )
                found, start = shard.scroll(request)
                yield [_part(record) for record in found]
                if start is None:
                    return
        finally:
            shard.close()
    except (KeyboardInterrupt, SystemExit, GeneratorExit, StoreError):
        raise
    # A panic of the engine is no Exception but a BaseException.
    except BaseException as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise StoreError(
            f"{path}: expected to read the parts of version 0.1, found '{line}'; if it comes again "
            "move the folder away and index the pictures again: lineside index"
        ) from error


def _part(record: qe.Record) -> PartPoint:
    vectors = record.vector
    vector = vectors.get(VECTOR_NAME) if isinstance(vectors, dict) else None
    return point_of(record.id, record.payload, vector)
