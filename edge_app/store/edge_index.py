"""How a Qdrant Edge shard is laid out for searching: graph, quantisation, payload indexes.

Measured with benchmarks/neighbors.py on two cores: under its default full-scan threshold the
engine reads every vector of a category of some thousand parts, which takes longer than walking the
graph of a million.
"""

from __future__ import annotations

from pathlib import Path

import qdrant_edge as qe

from edge_app.store.schema import INDEXED_FIELDS, VECTOR_NAME

# From this number of parts on that no index covers, building it pays: reading them all takes about
# a millisecond.
INDEX_FROM = 5_000
# From this number of parts on, searching walks over int8 vectors: a quarter of the memory.
QUANTIZE_FROM = 200_000
# Below this size in KiB a search reads every vector that passes the filter; some 160 descriptors.
_FULL_SCAN_KIB = 100
# The engine leaves smaller pieces of a shard without a graph.
_INDEXING_KIB = 100
_EDGES = 16
_EF_CONSTRUCT = 100
# The candidates that int8 finds are measured again with the stored float32 vectors; four times as
# many as are wanted lose hardly any.
_OVERSAMPLING = 4.0
# How many candidates a search keeps; among very many parts more are needed for the same recall.
_EF, _EF_OF_MANY = 100, 200
# The graph gets extra edges within each value of these fields, so that a filtered search is as good
# as one without. Each costs a pass of building; the other fields' values are found in every part of
# the graph.
_GRAPH_FIELDS = frozenset({"category"})


def shard_config(embedding_length: int, number: int) -> qe.EdgeConfig:
    """Configuration of a shard that holds, or will hold, a number of parts."""
    quantization = (
        qe.ScalarQuantizationConfig(type=qe.ScalarType.Int8, quantile=0.99, memory=qe.Memory.Pinned)
        if number >= QUANTIZE_FROM
        else None
    )
    graph = qe.HnswIndexConfig(
        m=_EDGES, ef_construct=_EF_CONSTRUCT, full_scan_threshold=_FULL_SCAN_KIB
    )
    return qe.EdgeConfig(
        vectors={
            VECTOR_NAME: qe.EdgeVectorParams(
                size=embedding_length,
                distance=qe.Distance.Cosine,
                quantization_config=quantization,
                hnsw_config=graph,
            )
        },
        optimizers=qe.EdgeOptimizersConfig(indexing_threshold=_INDEXING_KIB),
    )


def indexed(shard: qe.EdgeShard, path: Path, embedding_length: int, number: int) -> qe.EdgeShard:
    """Build a shard's index; ``shard`` is closed then, and nobody else may use it meanwhile.

    Args:
        shard: open and flushed.
        path: its folder.
        embedding_length: length of the vectors.
        number: of its parts; many are quantised.

    Returns:
        the shard, open.
    """
    # A shard takes over a layout only when it is loaded; one from an earlier version gets the
    # present one here too.
    shard.close()
    laid_out = qe.EdgeShard.load(str(path), shard_config(embedding_length, number))
    laid_out.optimize()
    laid_out.flush()
    return laid_out


def search_params(number: int) -> qe.SearchParams:
    """How wide a search among a number of parts looks; without graph or quantisation it changes nothing."""
    return qe.SearchParams(
        hnsw_ef=_EF if number < QUANTIZE_FROM else _EF_OF_MANY,
        quantization=qe.QuantizationSearchParams(rescore=True, oversampling=_OVERSAMPLING),
    )


def field_indexes() -> list[qe.UpdateOperation]:
    """The operations that make a new shard's payload indexes."""
    return [
        qe.UpdateOperation.create_field_index(
            field,
            qe.KeywordIndexParams(enable_hnsw=field in _GRAPH_FIELDS)
            if kind == "keyword"
            else qe.DatetimeIndexParams(enable_hnsw=field in _GRAPH_FIELDS),
        )
        for field, kind in INDEXED_FIELDS.items()
    ]
