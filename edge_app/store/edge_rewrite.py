"""Writing a shard anew: only so does its log shrink, and only so does it take changes after it has lost its log.

The engine numbers its operations along the log and drops those with a lower number than a point has. Under a log that
begins at zero again it would therefore ignore every change to an older point, without a word.

While a shard is exchanged its folder has one of these neighbours; :func:`recover` puts things right after a crash:

shard.rewriting/   the new one, not complete yet
shard.replaced/    the old one, complete
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import qdrant_edge as qe

from edge_app.store.edge_log import FLUSH_EVERY
from edge_app.store.edge_records import page, upsert
from edge_app.store.schema import INDEXED_FIELDS, VECTOR_NAME

_INDEX_TYPES = {"keyword": qe.PayloadSchemaType.Keyword, "datetime": qe.PayloadSchemaType.Datetime}
_BATCH = 256


def new_shard(path: Path, embedding_length: int) -> qe.EdgeShard:
    """Make an empty shard in a folder that does not exist yet."""
    config = qe.EdgeConfig(
        vectors={VECTOR_NAME: qe.EdgeVectorParams(size=embedding_length, distance=qe.Distance.Cosine)}
    )
    path.mkdir(parents=True)
    shard = qe.EdgeShard.create(str(path), config)
    for field, kind in INDEXED_FIELDS.items():
        shard.update(qe.UpdateOperation.create_field_index(field, _INDEX_TYPES[kind]))
    return shard


def rewrite(shard: qe.EdgeShard, path: Path, embedding_length: int) -> None:
    """Copy a shard's points into a new one and put that in its place; ``shard`` is closed then. Crash-safe.

    Args:
        shard: open; nobody else may use it meanwhile.
        path: its folder.
        embedding_length: length of the vectors.
    """
    building, replaced = _beside(path)
    shutil.rmtree(building, ignore_errors=True)
    try:
        fresh = new_shard(building, embedding_length)
        try:
            _copy(shard, fresh)
            fresh.optimize()
            fresh.flush()
        finally:
            fresh.close()
        _sync_tree(building)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    shard.close()
    path.rename(replaced)
    building.rename(path)
    _sync(path.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def recover(path: Path) -> None:
    """Finish or undo an exchange that a crash cut short; call it before a shard is opened."""
    building, replaced = _beside(path)
    if not path.exists() and replaced.exists():
        replaced.rename(path)
    for left in (building, replaced):
        if left.exists():
            shutil.rmtree(left, ignore_errors=True)


def size_bytes(path: Path) -> int:
    """Bytes that a folder's files take up on the disk; the engine's are sparse."""
    total = 0
    for file in path.rglob("*"):
        try:
            found = file.lstat()
        except FileNotFoundError:
            continue
        total += getattr(found, "st_blocks", -(-found.st_size // 512)) * 512
    return total


def _beside(path: Path) -> tuple[Path, Path]:
    return path.with_name(f"{path.name}.rewriting"), path.with_name(f"{path.name}.replaced")


def _copy(source: qe.EdgeShard, target: qe.EdgeShard) -> None:
    start, waiting = None, 0
    while True:
        points, start = page(source, None, start, _BATCH, full=True)
        if points:
            target.update(upsert((point.point_id, point.embedding, point.payload()) for point in points))
            waiting += len(points)
        if start is None:
            return
        if waiting >= FLUSH_EVERY:
            # Lets the engine shorten the log, which would hold a second copy of everything otherwise.
            target.flush()
            waiting = 0


def _sync_tree(path: Path) -> None:
    for entry in (*path.rglob("*"), path):
        _sync(entry)


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
