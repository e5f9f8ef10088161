"""Opening a Qdrant Edge shard, and setting a damaged one aside."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import qdrant_edge as qe

from edge_app.store.base import SearchFilter
from edge_app.store.edge_log import LOG_FOLDER
from edge_app.store.edge_rewrite import new_shard, recover, rewrite
from edge_app.store.folder import set_aside
from edge_app.store.schema import VECTOR_NAME
from runtime.errors import StoreError

if TYPE_CHECKING:
    from qdrant_edge import ConditionType as _Condition

log = logging.getLogger("lineside")

# What the engine says when the shard is sound but this machine will not let us have it.
_NOT_DAMAGE = {
    "WouldBlock": "another process has it open; stop that process",
    "Permission denied": "change the folder's owner",
    "Read-only file system": "choose another folder with --store",
    "No space left": "free some space",
    "Cannot allocate memory": "close other programs",
    "Resource temporarily unavailable": "raise the limit of processes and threads (ulimit -u, "
    "TasksMax)",
    "Too many open files": "raise the limit: ulimit -n 4096",
}


def open_shard(path: Path, embedding_length: int) -> qe.EdgeShard:
    """Open a shard or create it; a damaged one is set aside and a new one takes its place.

    Args:
        path: the shard's folder.
        embedding_length: length of the vectors.

    Raises:
        StoreError: the shard is sound but cannot be opened, or a new one cannot be written.
    """
    recover(path)
    if not path.exists():
        return _create(path, embedding_length)
    try:
        shard = _load(path, embedding_length)
        return _renumbered(shard, path, embedding_length) if _mark(path).exists() else shard
    except (KeyboardInterrupt, SystemExit, StoreError):
        raise
    # A panic of the engine is no Exception but a BaseException.
    except BaseException as error:
        for sign, advice in _NOT_DAMAGE.items():
            if sign in str(error):
                raise StoreError(
                    f"{path}: expected to open the shard, found '{error}'; {advice}"
                ) from error
        damage = _first_line(error)
    return _without_log(path, embedding_length, damage) or _anew(path, embedding_length, damage)


def _without_log(path: Path, embedding_length: int, damage: str) -> qe.EdgeShard | None:
    """Try again without the write-ahead log: it holds the newest writes only, at most FLUSH_EVERY of them."""
    old_log = path / LOG_FOLDER
    if not old_log.exists():
        return None
    # Stays over a crash: a shard that got a new log must not be used before it is written anew.
    _mark(path).touch()
    moved = set_aside(old_log, path.parent)
    try:
        shard = _load(path, embedding_length)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:
        shutil.rmtree(old_log, ignore_errors=True)
        moved.rename(old_log)
        _mark(path).unlink()
        return None
    log.info(
        f"{path}: its log was damaged ({damage}) and was set aside as {moved.name}; older parts "
        "are there, the newest may "
        "be missing: index their pictures again: lineside index BUNDLE --images DIR --store STORE"
    )
    return _renumbered(shard, path, embedding_length)


def _mark(path: Path) -> Path:
    return path.with_name(f"{path.name}.renumber")


def _renumbered(shard: qe.EdgeShard, path: Path, embedding_length: int) -> qe.EdgeShard:
    """Write a shard anew, because under a new log the engine ignores changes to the points that are there."""
    try:
        rewrite(shard, path, embedding_length)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        raise StoreError(
            f"{path}: expected to write the shard anew after it lost its log, found "
            f"'{_first_line(error)}'; free some "
            "space and open it again"
        ) from error
    fresh = _load(path, embedding_length)
    _mark(path).unlink(missing_ok=True)
    return fresh


def _anew(path: Path, embedding_length: int, damage: str) -> qe.EdgeShard:
    moved = set_aside(path, path.parent)
    log.info(
        f"{path}: the shard is damaged ({damage}); it was set aside as {moved.name} and a new, "
        "empty one was begun; "
        "index the pictures again: lineside index BUNDLE --images DIR --store STORE"
    )
    return _create(path, embedding_length)


def field_filter(where: SearchFilter) -> qe.Filter | None:
    """Translate a filter for Qdrant Edge; None lets everything through."""
    must: list[_Condition] = [
        qe.FieldCondition(key, match=qe.MatchValue(value))
        for key, value in (("category", where.category), ("verdict", where.verdict))
        if value is not None
    ]
    if where.confirmed_only:
        must.append(qe.FieldCondition("confirmed", match=qe.MatchAny(["right", "wrong"])))
    if where.since is not None or where.until is not None:
        must.append(
            qe.FieldCondition("time", range=qe.RangeDateTime(gte=where.since, lt=where.until))
        )
    must_not: list[_Condition] = (
        [qe.HasIdCondition(set(where.exclude_ids))] if where.exclude_ids else []
    )
    return qe.Filter(must=must, must_not=must_not) if must or must_not else None


@contextmanager
def engine_errors(folder: Path, doing: str) -> Iterator[None]:
    """Turn whatever the engine raises, its panics included, into one line."""
    try:
        yield
    except (StoreError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        raise StoreError(
            f"{folder}: expected to {doing}, but the engine says '{error}'; "
            "restart, and if it comes again move the folder away and index again"
        ) from error


def _create(path: Path, embedding_length: int) -> qe.EdgeShard:
    # Built under another name: a shard whose process is killed before its first flush cannot be
    # opened again.
    building = path.with_name(f"{path.name}.new")
    try:
        shutil.rmtree(building, ignore_errors=True)
        shard = new_shard(building, embedding_length)
        shard.flush()
        shard.close()
        building.rename(path)
        return qe.EdgeShard.load(str(path))
    except Exception as error:
        raise StoreError(
            f"{path}: expected to create a shard, found '{error}'; choose another folder with "
            "--store"
        ) from error


def _load(path: Path, embedding_length: int) -> qe.EdgeShard:
    shard = qe.EdgeShard.load(str(path))
    try:
        _probe(shard, embedding_length)
    except BaseException:
        shard.close()
        raise
    return shard


def _probe(shard: qe.EdgeShard, embedding_length: int) -> None:
    """Loading reads little; this touches the ids, the vectors and a payload."""
    vector = [1.0] + [0.0] * (embedding_length - 1)
    request = qe.QueryRequest(
        limit=1,
        query=qe.Query.Nearest(vector, using=VECTOR_NAME),
        with_payload=True,
        with_vector=True,
    )
    number = shard.count(qe.CountRequest(exact=True))
    if number and not shard.query(request):
        raise ValueError(f"it holds {number} parts without descriptors")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
