"""A Qdrant Edge shard as an index of descriptors: how it is laid out, filled and asked.

The engine keeps Python's global lock while it works: a query of a millisecond does not matter, but
building the graph stops every thread of the process for as long as it takes.

Measured with benchmarks/neighbors.py on two cores: under its default full-scan threshold the engine
reads every vector of a category of some thousand parts, which takes longer than walking the graph
of a million.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import qdrant_edge as qe

from edge_app.store.schema import INDEXED_FIELDS, VECTOR_NAME, PartPoint, SearchFilter
from runtime.atomic import write_json
from runtime.decode import read_json
from runtime.errors import StoreError
from runtime.types import Embedding

if TYPE_CHECKING:
    from qdrant_edge import ConditionType as _Condition

# What is in a shard and how; one of another format is built anew.
FORMAT = 1
STATE_FILE = "state.json"
# From this number of parts on that no graph covers, building one pays: reading them all takes about
# a millisecond.
GRAPH_FROM = 5_000
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
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class State:
    """What is known of a shard that is closed.

    Attributes:
        format: of the shard.
        embedding_length: of its descriptors.
        seq: it holds the records up to this write, and perhaps some of the later ones.
        opened: whether somebody has had it open since, and has not closed it.
        boot: when; names the run of the operating system.
    """

    format: int
    embedding_length: int
    seq: int
    opened: bool = False
    boot: str = ""

    @property
    def is_sound(self) -> bool:
        """Whether what is in the files is what was written: only a power cut makes that unsure."""
        return not self.opened or (bool(self.boot) and self.boot == _boot())


class Shard:
    """An open shard; one thread at a time. Whatever its methods raise, it is of no use any more.

    Args:
        folder: holds the engine's files and :data:`STATE_FILE`.
        shard: the engine's.
        embedding_length: of the descriptors.
        seq: it holds the records up to this write.
    """

    def __init__(self, folder: Path, shard: qe.EdgeShard, embedding_length: int, seq: int) -> None:
        self.seq = seq
        self._folder = folder
        self._shard = shard
        self._embedding_length = embedding_length
        self._params = _search_params(self.count())

    @classmethod
    def create(cls, folder: Path, embedding_length: int, number: int) -> Shard:
        """An empty shard, laid out for a number of parts, in a folder that does not exist yet."""
        files = folder / "shard"
        files.mkdir(parents=True)
        shard = qe.EdgeShard.create(str(files), _config(embedding_length, number))
        for field, kind in INDEXED_FIELDS.items():
            graph = field in _GRAPH_FIELDS
            params = (
                qe.KeywordIndexParams(enable_hnsw=graph)
                if kind == "keyword"
                else qe.DatetimeIndexParams(enable_hnsw=graph)
            )
            shard.update(qe.UpdateOperation.create_field_index(field, params))
        return cls(folder, shard, embedding_length, 0)

    @classmethod
    def open(cls, folder: Path, embedding_length: int) -> Shard:
        """What is there.

        Raises:
            StoreError: there is none, or it is not to be trusted.
        """
        advice = "it is built anew"
        state = read_json(folder / STATE_FILE, State, error=StoreError, advice=advice)
        if (state.format, state.embedding_length) != (FORMAT, embedding_length):
            raise StoreError(f"{folder}: expected another format; {advice}")
        if not state.is_sound:
            raise StoreError(f"{folder}: expected no power cut while it was open; {advice}")
        shard = qe.EdgeShard.load(str(folder / "shard"))
        opened = cls(folder, shard, embedding_length, state.seq)
        # Loading reads little; this touches the ids and the vectors.
        probe = np.ones(embedding_length, np.float32)
        if opened.count() and not opened.search(probe, 1, SearchFilter()):
            raise StoreError(f"{folder}: expected descriptors, found none; {advice}")
        opened._write_state(opened=True)
        return opened

    def apply(self, seq: int, parts: Sequence[PartPoint], removed: Sequence[str]) -> None:
        """Take in what the records say.

        Args:
            seq: they say it up to this write.
            parts: added or changed, with descriptors.
            removed: ids; what was added again after its removal is among the parts.
        """
        if removed:
            self._shard.update(qe.UpdateOperation.delete_points(list(removed)))
        if parts:
            self._shard.update(
                qe.UpdateOperation.upsert_points(
                    [
                        qe.Point(
                            part.point_id,
                            {VECTOR_NAME: part.embedding.tolist()},
                            {name: getattr(part, name) for name in INDEXED_FIELDS},
                        )
                        for part in parts
                    ]
                )
            )
        self.seq = seq

    def search(self, embedding: Embedding, k: int, where: SearchFilter) -> list[tuple[str, float]]:
        """(id, cosine similarity) of the k nearest, best first."""
        request = qe.QueryRequest(
            limit=k,
            query=qe.Query.Nearest(embedding.tolist(), using=VECTOR_NAME),
            filter=_field_filter(where),
            params=self._params,
        )
        return [(str(hit.id), float(hit.score)) for hit in self._shard.query(request)]

    def count(self) -> int:
        """Number of parts."""
        return int(self._shard.count(qe.CountRequest(exact=True)))

    def lacks_graph(self) -> bool:
        """Whether there are so many parts without a graph that building one pays."""
        return self.count() - int(self._shard.info().indexed_vectors_count) >= GRAPH_FROM

    def build_graph(self) -> None:
        """Build the graph over what no graph covers; quantize where there are many parts."""
        number = self.count()
        self.flush()
        # A shard takes over a layout only when it is loaded.
        self._shard.close()
        self._shard = qe.EdgeShard.load(
            str(self._folder / "shard"), _config(self._embedding_length, number)
        )
        self._shard.optimize()
        self._params = _search_params(number)
        self.flush()

    def flush(self, *, opened: bool = True) -> None:
        """Bring everything to the disk, and say so in the state file."""
        self._shard.flush()
        self._write_state(opened=opened)

    def close(self) -> None:
        """Flush and release."""
        self.flush(opened=False)
        self._shard.close()

    def abandon(self) -> None:
        """Release as well as it goes; the files are thrown away."""
        with suppress(BaseException):
            self._shard.close()

    def _write_state(self, *, opened: bool) -> None:
        state = State(FORMAT, self._embedding_length, self.seq, opened, _boot())
        write_json(self._folder / STATE_FILE, asdict(state))


def _config(embedding_length: int, number: int) -> qe.EdgeConfig:
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


def _search_params(number: int) -> qe.SearchParams:
    """How wide a search looks; without graph or quantization it changes nothing."""
    return qe.SearchParams(
        hnsw_ef=_EF if number < QUANTIZE_FROM else _EF_OF_MANY,
        quantization=qe.QuantizationSearchParams(rescore=True, oversampling=_OVERSAMPLING),
    )


def _field_filter(where: SearchFilter) -> qe.Filter | None:
    """Translate a filter for the engine; None lets everything through."""
    with_word = qe.FieldCondition("confirmed", match=qe.MatchAny(["right", "wrong"]))
    must: list[_Condition] = [
        qe.FieldCondition(key, match=qe.MatchValue(value))
        for key in ("category", "verdict", "camera", "confirmed")
        if (value := getattr(where, key))
    ]
    if where.confirmed_only:
        must.append(with_word)
    if where.since is not None or where.until is not None:
        must.append(
            qe.FieldCondition("time", range=qe.RangeDateTime(gte=where.since, lt=where.until))
        )
    must_not: list[_Condition] = (
        [qe.HasIdCondition(set(where.exclude_ids))] if where.exclude_ids else []
    )
    if where.confirmed == "":
        must_not.append(with_word)
    return qe.Filter(must=must, must_not=must_not) if must or must_not else None


def _boot() -> str:
    """Names the run of the operating system, ``""`` where nobody can tell."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""
