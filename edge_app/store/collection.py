"""The collection of one bundle on a server, and its points in the words of qdrant-client."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from qdrant_client import QdrantClient, models

from edge_app.store.schema import (
    INDEXED_FIELDS,
    VECTOR_NAME,
    Checked,
    PartPoint,
    SearchFilter,
    point_of,
)
from edge_app.store.words import WORD_FIELDS
from runtime.errors import StoreError

_INDEX_TYPES = {
    "keyword": models.PayloadSchemaType.KEYWORD,
    "datetime": models.PayloadSchemaType.DATETIME,
}
COLLECTION_PREFIX = "lineside-"
# What int8 finds is measured again with the stored float32 vectors.
SEARCH_PARAMS = models.SearchParams(
    quantization=models.QuantizationSearchParams(rescore=True, oversampling=2.0)
)
# Of a clock that has lost its battery.
_FIRST_TIME = datetime(1970, 1, 1, tzinfo=UTC)
_WITH_WORD = models.FieldCondition(key="confirmed", match=models.MatchAny(any=["right", "wrong"]))


def read_collection(client: QdrantClient, collection: str) -> tuple[str, int] | None:
    """Fingerprint of the bundle and length of the descriptors; None without a part of ours."""
    vectors = client.get_collection(collection).config.params.vectors
    length = (
        vectors[VECTOR_NAME].size if isinstance(vectors, dict) and VECTOR_NAME in vectors else 0
    )
    records, _ = client.scroll(collection, limit=1, with_payload=["bundle"], with_vectors=False)
    bundle = (records[0].payload or {}).get("bundle") if records else None
    return (str(bundle), length) if bundle and length else None


def create_collection(client: QdrantClient, collection: str, embedding_length: int) -> None:
    """Make a collection; one that another box has made meanwhile is as good."""
    params = models.VectorParams(
        size=embedding_length,
        distance=models.Distance.COSINE,
        # Counts from the size on at which the server builds an index, 10,000 KiB of vectors unless
        # set otherwise.
        quantization_config=models.ScalarQuantization(
            scalar=models.ScalarQuantizationConfig(
                type=models.ScalarType.INT8, quantile=0.99, always_ram=True
            )
        ),
    )
    try:
        client.create_collection(collection, vectors_config={VECTOR_NAME: params})
    except Exception:
        # Another box may have been quicker; if not, the error stands.
        if not client.collection_exists(collection):
            raise


def complete_indexes(client: QdrantClient, collection: str) -> None:
    """Make the payload indexes that it lacks: the network may have broken while it was made."""
    there = client.get_collection(collection).payload_schema
    with warnings.catch_warnings():
        # qdrant-client's local mode has no payload indexes and warns; filters work there all the
        # same.
        warnings.simplefilter("ignore")
        for field, kind in INDEXED_FIELDS.items():
            if field not in there:
                client.create_payload_index(collection, field, _INDEX_TYPES[kind], wait=True)


def check_vectors(client: QdrantClient, collection: str, embedding_length: int, name: str) -> None:
    """Refuse a collection that holds other vectors.

    Args:
        client: an open client.
        collection: its name.
        embedding_length: length that is expected.
        name: the location, for the message.

    Raises:
        StoreError: another length, distance or name of the vector.
    """
    vectors = client.get_collection(collection).config.params.vectors
    found = vectors.get(VECTOR_NAME) if isinstance(vectors, dict) else None
    if found is None or found.distance != models.Distance.COSINE:
        raise StoreError(
            f"{name}: expected the collection {collection} with the cosine vector "
            f"'{VECTOR_NAME}', found another; rename or delete that collection"
        )
    if found.size != embedding_length:
        raise StoreError(
            f"{name}: expected descriptors of length {embedding_length} in {collection}, found "
            f"{found.size}; index into another server or delete that collection"
        )


def selection(*, full: bool) -> dict[str, Any]:
    """Arguments of a read: for everything, or for all but descriptor and thumbnail."""
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
    """Set the operator's word on a point, with its verdict, unless the server has a newer one.

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
        for key in ("category", "verdict", "camera", "confirmed")
        if (value := getattr(where, key))
    ]
    if where.confirmed_only:
        must.append(_WITH_WORD)
    if where.since is not None or where.until is not None:
        since, until = (_time(value) for value in (where.since, where.until))
        must.append(
            models.FieldCondition(key="time", range=models.DatetimeRange(gte=since, lt=until))
        )
    if where.min_score is not None or where.max_score is not None:
        scores = models.Range(gte=where.min_score, lte=where.max_score)
        must.append(models.FieldCondition(key="normalized_score", range=scores))
    must_not: list[models.Condition] = []
    if where.exclude_ids:
        must_not.append(models.HasIdCondition(has_id=list(where.exclude_ids)))
    if where.confirmed == "":
        must_not.append(_WITH_WORD)
    return models.Filter(must=must or None, must_not=must_not or None) if must or must_not else None


def _time(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)
