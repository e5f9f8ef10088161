"""Writing a shard anew: only so does its log shrink, and only so does it take changes after it has lost its log.

The engine numbers its operations along the log and drops those with a lower number than a point
has. Under a log that begins at zero again it would therefore ignore every change to an older point,
without a word.

While a shard is exchanged its folder has one of these neighbours; :func:`recover` puts things right
after a crash:

shard.rewriting/   the new one, not complete yet
shard.replaced/    the old one, complete
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import qdrant_edge as qe

from edge_app.store.edge_index import field_indexes, shard_config
from edge_app.store.edge_log import FLUSH_EVERY, LOG_FOLDER
from edge_app.store.edge_records import page, upsert

_BATCH = 256
# What a copy needs beside its points: the log, which grows no larger than this, and something to
# spare.
_LOG_MIB = 96
_SPARE_MIB = 8


def new_shard(path: Path, embedding_length: int, number: int = 0) -> qe.EdgeShard:
    """Make an empty shard, laid out for a number of parts, in a folder that does not exist yet."""
    path.mkdir(parents=True)
    shard = qe.EdgeShard.create(str(path), shard_config(embedding_length, number))
    for operation in field_indexes():
        shard.update(operation)
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
        fresh = new_shard(building, embedding_length, shard.count(qe.CountRequest(exact=True)))
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


def lacking_room(path: Path, share: float = 1.0) -> str:
    """Whether the disk has room for a copy of a flushed shard.

    Args:
        path: the shard's folder.
        share: of its points that the copy will hold.

    Returns:
        what is missing and what to do, or "" if there is room.
    """
    copied_mib = int((size_bytes(path) - size_bytes(path / LOG_FOLDER)) * share) >> 20
    needed_mib = copied_mib + min(copied_mib, _LOG_MIB) + _SPARE_MIB
    free_mib = shutil.disk_usage(path).free >> 20
    if free_mib >= needed_mib:
        return ""
    return (
        f"{path.parent}: expected {needed_mib} MiB free on the disk for a copy of what is left, "
        "found "
        f"{free_mib} MiB; free some space and run it again"
    )


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
            target.update(
                upsert((point.point_id, point.embedding, point.payload()) for point in points)
            )
            waiting += len(points)
        if start is None:
            return
        if waiting >= FLUSH_EVERY:
            # Lets the engine shorten the log, which would hold a second copy of everything
            # otherwise.
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
