"""The store on a Qdrant server or cluster, through qdrant-client: boxes that share a memory."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from datetime import datetime
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
from qdrant_client import QdrantClient, models

from edge_app.store.base import Neighbour, PartPoint, SearchFilter
from edge_app.store.connect import server_errors
from edge_app.store.schema import (
    INDEXED_FIELDS,
    VECTOR_NAME,
    bundle_key,
    checked_embedding,
    checked_filter,
    checked_id,
    checked_k,
    checked_point,
    checked_word,
    point_of,
)
from runtime.errors import StoreError

_INDEX_TYPES = {"keyword": models.PayloadSchemaType.KEYWORD, "datetime": models.PayloadSchemaType.DATETIME}
# Keeps a request under the server's limit of 32 MiB, thumbnails of 10 kB included.
_UPSERT_BATCH = 512


class RemoteStore:
    """A neighbour store in one collection of a server, see :class:`edge_app.store.base.NeighbourStore`.

    Args:
        client: an open client, closed with the store; REST, gRPC or qdrant-client's own local mode.
        bundle: fingerprint of the model; the collection is named after it.
        embedding_length: length of its descriptors.
        name: the location, for messages.
        create: False to refuse a collection that does not exist yet.

    Raises:
        StoreError: the server cannot be reached or refuses, or the collection holds other vectors.
    """

    def __init__(
        self,
        client: QdrantClient,
        *,
        bundle: str,
        embedding_length: int,
        name: str = "server",
        create: bool = True,
    ) -> None:
        self.bundle = bundle
        self.embedding_length = embedding_length
        self.name = name
        self.collection = f"lineside-{bundle_key(bundle)}"
        self._client = client
        self._closed = False
        try:
            self._prepare(create)
        except BaseException:
            client.close()
            raise

    def upsert(self, points: Sequence[PartPoint]) -> None:
        """Add points or replace those with the same id; on return the server has acknowledged them.

        Raises:
            StoreError: a point is unusable (nothing is written then), or the server cannot be reached or refuses.
        """
        self._check_open()
        checked = [checked_point(point, self.bundle, self.embedding_length) for point in points]
        for start in range(0, len(checked), _UPSERT_BATCH):
            made = [
                models.PointStruct(id=identifier, vector={VECTOR_NAME: vector.tolist()}, payload=payload)
                for identifier, vector, payload in checked[start : start + _UPSERT_BATCH]
            ]
            with server_errors(self.name, "store parts"):
                self._client.upsert(self.collection, made, wait=True)

    def search(
        self, embedding: npt.NDArray[np.float32], k: int = 5, where: SearchFilter | None = None
    ) -> list[Neighbour]:
        """The k most similar parts by cosine similarity, best first; fewer if the store holds fewer.

        Raises:
            StoreError: the descriptor or the filter is unusable, or the server cannot be reached or refuses.
        """
        self._check_open()
        vector = checked_embedding(embedding, self.embedding_length)
        where = checked_filter(where)
        with server_errors(self.name, "search"):
            answer = self._client.query_points(
                self.collection,
                query=vector.tolist(),
                using=VECTOR_NAME,
                limit=checked_k(k),
                query_filter=_field_filter(where),
                with_payload=True,
            )
        return [Neighbour(float(hit.score), point_of(hit.id, hit.payload)) for hit in answer.points]

    def get(self, point_id: str) -> PartPoint | None:
        """One point with its descriptor, or None."""
        self._check_open()
        identifier = checked_id(point_id)
        with server_errors(self.name, "read"):
            found = self._client.retrieve(
                self.collection, [identifier], with_payload=True, with_vectors=[VECTOR_NAME]
            )
        if not found:
            return None
        vectors = found[0].vector
        return point_of(
            found[0].id, found[0].payload, vectors[VECTOR_NAME] if isinstance(vectors, dict) else None
        )

    def set_confirmed(self, point_id: str, word: str) -> None:
        """Record the operator's word on a stored part; on return the server has acknowledged it.

        Raises:
            StoreError: no such part, an unknown word, or the server cannot be reached or refuses.
        """
        checked_word(word)
        if self.get(point_id) is None:
            raise StoreError(f"{self.name}: expected the stored part {point_id}, found none; index it first")
        with server_errors(self.name, "store the operator's word"):
            self._client.set_payload(
                self.collection, {"confirmed": word}, points=[checked_id(point_id)], wait=True
            )

    def count(self, where: SearchFilter | None = None) -> int:
        """Number of stored parts that satisfy the filter, exact."""
        self._check_open()
        wanted = _field_filter(checked_filter(where))
        with server_errors(self.name, "count"):
            return self._client.count(self.collection, count_filter=wanted, exact=True).count

    def close(self) -> None:
        """Close the client; a second call does nothing."""
        if not self._closed:
            self._closed = True
            self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"{self.name}: expected an open store, found a closed one; open it again")

    def _prepare(self, create: bool) -> None:
        with server_errors(self.name, "open a collection"):
            if not self._client.collection_exists(self.collection):
                if not create:
                    raise StoreError(
                        f"{self.name}: expected parts indexed with bundle {self.bundle[:16]}, found no collection "
                        f"{self.collection}; type: lineside index BUNDLE --images DIR --store {self.name}"
                    )
                self._create()
            self._check_vectors()

    def _create(self) -> None:
        try:
            self._client.create_collection(
                self.collection,
                vectors_config={
                    VECTOR_NAME: models.VectorParams(
                        size=self.embedding_length, distance=models.Distance.COSINE
                    )
                },
            )
        except Exception:
            # Another box may have been quicker; if not, the error stands.
            if not self._client.collection_exists(self.collection):
                raise
        with warnings.catch_warnings():
            # qdrant-client's local mode has no payload indexes and warns; filters work there all the same.
            warnings.simplefilter("ignore")
            for field, kind in INDEXED_FIELDS.items():
                self._client.create_payload_index(self.collection, field, _INDEX_TYPES[kind], wait=True)

    def _check_vectors(self) -> None:
        vectors = self._client.get_collection(self.collection).config.params.vectors
        found = vectors.get(VECTOR_NAME) if isinstance(vectors, dict) else None
        if found is None or found.distance != models.Distance.COSINE:
            raise StoreError(
                f"{self.name}: expected the collection {self.collection} with the cosine vector '{VECTOR_NAME}', "
                "found another; rename or delete that collection"
            )
        if found.size != self.embedding_length:
            raise StoreError(
                f"{self.name}: expected descriptors of length {self.embedding_length} in {self.collection}, found "
                f"{found.size}; index into another server or delete that collection"
            )


def _field_filter(where: SearchFilter) -> models.Filter | None:
    must: list[models.Condition] = [
        models.FieldCondition(key=key, match=models.MatchValue(value=value))
        for key, value in (("category", where.category), ("verdict", where.verdict))
        if value is not None
    ]
    if where.confirmed_only:
        must.append(models.FieldCondition(key="confirmed", match=models.MatchAny(any=["right", "wrong"])))
    if where.since is not None or where.until is not None:
        since, until = (_time(value) for value in (where.since, where.until))
        must.append(models.FieldCondition(key="time", range=models.DatetimeRange(gte=since, lt=until)))
    must_not: list[models.Condition] = []
    if where.exclude_ids:
        must_not.append(models.HasIdCondition(has_id=list(where.exclude_ids)))
    return models.Filter(must=must or None, must_not=must_not or None) if must or must_not else None


def _time(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)
