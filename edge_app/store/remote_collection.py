"""The collection of one bundle on a server: made once, checked whenever it is opened."""

from __future__ import annotations

import warnings

from qdrant_client import QdrantClient, models

from edge_app.store.schema import INDEXED_FIELDS, VECTOR_NAME
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


def read_collection(client: QdrantClient, collection: str) -> tuple[str, int] | None:
    """Fingerprint of the bundle and length of the descriptors; None if there is no part in it, or none of ours."""
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
    """Make the payload indexes that a collection lacks: the network may have broken while it was made."""
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
            f"'{VECTOR_NAME}', "
            "found another; rename or delete that collection"
        )
    if found.size != embedding_length:
        raise StoreError(
            f"{name}: expected descriptors of length {embedding_length} in {collection}, found "
            f"{found.size}; index into another server or delete that collection"
        )
