"""Reading and changing many points of a Qdrant Edge shard at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import qdrant_edge as qe

from edge_app.store.base import Merged, PartPoint
from edge_app.store.schema import VECTOR_NAME, point_of
from edge_app.store.words import WORD_FIELDS, newer
from runtime.types import Embedding

# Everything but the descriptor and the thumbnail.
_LIGHT = qe.PayloadSelector.Exclude(["thumbnail"])
_CONFIRMED = ["right", "wrong"]
Checked = tuple[str, Embedding, dict[str, Any]]


def read(shard: qe.EdgeShard, point_ids: Sequence[str], *, full: bool) -> list[PartPoint]:
    """Those of the points that are there."""
    if not point_ids:
        return []
    payload = True if full else _LIGHT
    return parts_of(shard.retrieve(list(point_ids), with_payload=payload, with_vector=full))


def page(
    shard: qe.EdgeShard, wanted: qe.Filter | None, start: Any, batch: int, *, full: bool
) -> tuple[list[PartPoint], Any]:
    """One page of points by id, and where the next one starts (None after the last)."""
    request = qe.ScrollRequest(
        offset=start,
        limit=batch,
        filter=wanted,
        with_payload=True if full else _LIGHT,
        with_vector=full,
    )
    records, following = shard.scroll(request)
    return parts_of(records), following


def parts_of(records: Iterable[qe.Record]) -> list[PartPoint]:
    """Records as parts."""
    return [point_of(record.id, record.payload, _vector(record.vector)) for record in records]


def upsert(checked: Iterable[Checked]) -> qe.UpdateOperation:
    """The operation that writes checked points."""
    return qe.UpdateOperation.upsert_points(
        [
            qe.Point(identifier, {VECTOR_NAME: vector.tolist()}, payload)
            for identifier, vector, payload in checked
        ]
    )


def delete(point_ids: Sequence[str], *, keep_confirmed: bool) -> qe.UpdateOperation:
    """The operation that removes points."""
    if not keep_confirmed:
        return qe.UpdateOperation.delete_points(list(point_ids))
    return qe.UpdateOperation.delete_points_by_filter(
        qe.Filter(
            must=[qe.HasIdCondition(set(point_ids))],
            must_not=[qe.FieldCondition("confirmed", match=qe.MatchAny(_CONFIRMED))],
        )
    )


def merge(
    shard: qe.EdgeShard, points: Sequence[PartPoint], checked: Sequence[Checked]
) -> tuple[list[qe.UpdateOperation], Merged]:
    """What must be written so that the shard holds these points and the newest words; nobody may write meanwhile."""
    there = {
        found.point_id: found for found in read(shard, [entry[0] for entry in checked], full=False)
    }
    missing = [entry for entry in checked if entry[0] not in there]
    words = [
        (identifier, payload)
        for point, (identifier, _, payload) in zip(points, checked, strict=True)
        if identifier in there and newer(point, there[identifier])
    ]
    operations = [upsert(missing)] if missing else []
    operations += [
        qe.UpdateOperation.set_payload([identifier], word_of(payload))
        for identifier, payload in words
    ]
    return operations, Merged(len(missing), len(words), len(checked) - len(missing) - len(words))


def word_of(payload: dict[str, Any]) -> dict[str, Any]:
    """The part of a payload that is the operator's, and the verdict that the word is on."""
    return {name: payload[name] for name in WORD_FIELDS}


def _vector(vectors: Any) -> Any:
    return vectors.get(VECTOR_NAME) if isinstance(vectors, dict) else None
