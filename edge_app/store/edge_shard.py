"""Opening a Qdrant Edge shard, and setting a damaged one aside."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import qdrant_edge as qe

from edge_app.store.base import SearchFilter
from edge_app.store.edge_log import LOG_FOLDER
from edge_app.store.folder import set_aside
from edge_app.store.schema import INDEXED_FIELDS, VECTOR_NAME
from runtime.errors import StoreError
from runtime.progress import say

if TYPE_CHECKING:
    from qdrant_edge import ConditionType as _Condition

_INDEX_TYPES = {"keyword": qe.PayloadSchemaType.Keyword, "datetime": qe.PayloadSchemaType.Datetime}
# What the engine says when the shard is sound but this machine will not let us have it.
_NOT_DAMAGE = {
    "WouldBlock": "another process has it open; stop that process",
    "Permission denied": "change the folder's owner",
    "Read-only file system": "choose another folder with --store",
    "No space left": "free some space",
    "Cannot allocate memory": "close other programs",
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
    if not path.exists():
        return _create(path, embedding_length)
    try:
        return _load(path, embedding_length)
    except (KeyboardInterrupt, SystemExit):
        raise
    # A panic of the engine is no Exception but a BaseException.
    except BaseException as error:
        for sign, advice in _NOT_DAMAGE.items():
            if sign in str(error):
                raise StoreError(f"{path}: expected to open the shard, found '{error}'; {advice}") from error
        damage = _first_line(error)
    return _without_log(path, embedding_length, damage) or _anew(path, embedding_length, damage)


def _without_log(path: Path, embedding_length: int, damage: str) -> qe.EdgeShard | None:
    """Try again without the write-ahead log: it holds the newest writes only, at most FLUSH_EVERY of them."""
    log = path / LOG_FOLDER
    if not log.exists():
        return None
    moved = set_aside(log, path.parent)
    try:
        shard = _load(path, embedding_length)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:
        shutil.rmtree(log, ignore_errors=True)
        moved.rename(log)
        return None
    say(
        f"{path}: its log was damaged ({damage}) and was set aside as {moved.name}; older parts are there, the newest may "
        "be missing: index their pictures again: lineside index BUNDLE --images DIR --store STORE"
    )
    return shard


def _anew(path: Path, embedding_length: int, damage: str) -> qe.EdgeShard:
    moved = set_aside(path, path.parent)
    say(
        f"{path}: the shard is damaged ({damage}); it was set aside as {moved.name} and a new, empty one was begun; "
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
        must.append(qe.FieldCondition("time", range=qe.RangeDateTime(gte=where.since, lt=where.until)))
    must_not: list[_Condition] = [qe.HasIdCondition(set(where.exclude_ids))] if where.exclude_ids else []
    return qe.Filter(must=must, must_not=must_not) if must or must_not else None


def _create(path: Path, embedding_length: int) -> qe.EdgeShard:
    config = qe.EdgeConfig(
        vectors={VECTOR_NAME: qe.EdgeVectorParams(size=embedding_length, distance=qe.Distance.Cosine)}
    )
    # Built under another name: a shard whose process is killed before its first flush cannot be opened again.
    building = path.with_name(f"{path.name}.new")
    try:
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(parents=True)
        shard = qe.EdgeShard.create(str(building), config)
        for field, kind in INDEXED_FIELDS.items():
            shard.update(qe.UpdateOperation.create_field_index(field, _INDEX_TYPES[kind]))
        shard.flush()
        shard.close()
        building.rename(path)
        return qe.EdgeShard.load(str(path))
    except Exception as error:
        raise StoreError(
            f"{path}: expected to create a shard, found '{error}'; choose another folder with --store"
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
        limit=1, query=qe.Query.Nearest(vector, using=VECTOR_NAME), with_payload=True, with_vector=True
    )
    number = shard.count(qe.CountRequest(exact=True))
    if number and not shard.query(request):
        raise StoreError(f"it holds {number} parts without descriptors")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
