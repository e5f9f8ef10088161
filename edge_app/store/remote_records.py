"""Points, filters and changes in the words of qdrant-client."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from qdrant_client import models

from edge_app.store.base import PartPoint, SearchFilter
from edge_app.store.schema import VECTOR_NAME, point_of
from edge_app.store.words import WORD_FIELDS
from runtime.types import Embedding

Checked = tuple[str, Embedding, dict[str, Any]]
# Of a clock that has lost its battery.
_FIRST_TIME = datetime(1970, 1, 1, tzinfo=UTC)
_WITH_WORD = models.FieldCondition(key="confirmed", match=models.MatchAny(any=["right", "wrong"]))


def selection(*, full: bool) -> dict[str, Any]:
    """Arguments of a read that choose what comes back: everything, or all but descriptor and thumbnail."""
    if full:
        return {"with_payload": True, "with_vectors": [VECTOR_NAME]}
    return {
        "with_payload": models.PayloadSelectorExclude(exclude=["thumbnail"]),
        "with_vectors": False,
    }


def part_of(record: models.Record) -> PartPoint:
    """A record as a part."""
    vectors = record.vector
    return point_of(
        record.id, record.payload, vectors.get(VECTOR_NAME) if isinstance(vectors, dict) else None
    )


def structs(checked: Iterable[Checked]) -> list[models.PointStruct]:
    """Checked points as they are sent."""
    return [
        models.PointStruct(id=identifier, vector={VECTOR_NAME: vector.tolist()}, payload=payload)
        for identifier, vector, payload in checked
    ]


def word_operation(identifier: str, payload: dict[str, Any]) -> models.SetPayloadOperation:
    """Set the operator's word on a point and the verdict that it is on, unless it has a newer one by then: the server decides.

    Args:
        identifier: the point.
        payload: a checked payload with the word.
    """
    same = models.HasIdCondition(has_id=[identifier])
    # Nothing there, and what another program wrote that is no time, lies in no range.
    timed = models.FieldCondition(key="confirmed_at", range=models.DatetimeRange(gte=_FIRST_TIME))
    older: list[models.Condition] = [models.Filter(must_not=[timed])]
    if payload["confirmed_at"]:
        moment = datetime.fromisoformat(payload["confirmed_at"])
        older.append(
            models.FieldCondition(key="confirmed_at", range=models.DatetimeRange(lte=moment))
        )
    return models.SetPayloadOperation(
        set_payload=models.SetPayload(
            payload={name: payload[name] for name in WORD_FIELDS},
            filter=models.Filter(must=[same], should=older),
        )
    )


def deletion(point_ids: list[str], *, keep_confirmed: bool) -> models.PointsSelector:
    """What to delete; whether a part has a word by then is for the server to see."""
    if not keep_confirmed:
        return models.PointIdsList(points=list(point_ids))
    return models.FilterSelector(
        filter=models.Filter(
            must=[models.HasIdCondition(has_id=list(point_ids))], must_not=[_WITH_WORD]
        )
    )


def field_filter(where: SearchFilter) -> models.Filter | None:
    """Translate a filter; None lets everything through."""
    must: list[models.Condition] = [
        models.FieldCondition(key=key, match=models.MatchValue(value=value))
        for key, value in (("category", where.category), ("verdict", where.verdict))
        if value is not None
    ]
    if where.confirmed_only:
        must.append(_WITH_WORD)
    if where.since is not None or where.until is not None:
        since, until = (_time(value) for value in (where.since, where.until))
        must.append(
            models.FieldCondition(key="time", range=models.DatetimeRange(gte=since, lt=until))
        )
    must_not: list[models.Condition] = []
    if where.exclude_ids:
        must_not.append(models.HasIdCondition(has_id=list(where.exclude_ids)))
    return models.Filter(must=must or None, must_not=must_not or None) if must or must_not else None


def _time(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)
