"""The index of a store in a folder: built when it pays, right in what it finds, int8 where there are many parts."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import qdrant_edge as qe

from edge_app.store import SearchFilter, edge_index, give_word
from edge_app.store.base import PartPoint
from edge_app.store.edge import EdgeStore
from edge_app.store.folder import SHARD_FOLDER
from edge_app.store.schema import INDEXED_FIELDS, VECTOR_NAME
from tests.edge_app.points import BUNDLE, LENGTH, exact_order, make_points


@pytest.fixture(scope="module")
def points() -> list[PartPoint]:
    return make_points(6000)


def opened(folder: Path) -> EdgeStore:
    return EdgeStore(folder, bundle=BUNDLE, embedding_length=LENGTH)


def recall(store: EdgeStore, points: list[PartPoint], where: SearchFilter | None = None) -> float:
    """Share of the exact five nearest that are found, over 50 queries that are not stored."""
    allowed = [point for point in points if where is None or point.category == where.category]
    hits = 0
    for query in make_points(50, seed=9):
        expected = {identifier for _, identifier in exact_order(query.embedding, allowed)[:5]}
        hits += len(
            expected & {hit.point.point_id for hit in store.search(query.embedding, 5, where)}
        )
    return hits / 250


def quantized(folder: Path) -> bool:
    return any((folder / SHARD_FOLDER).rglob("quantized.data"))


# The graph is built by several threads, so it differs from run to run; random points are harder
# than descriptors.
RECALL = 0.95


@pytest.mark.parametrize("quantize_from", [edge_index.QUANTIZE_FROM, 5000])
def test_an_indexed_store_finds_what_brute_force_finds(
    tmp_path: Path, points: list[PartPoint], monkeypatch: pytest.MonkeyPatch, quantize_from: int
) -> None:
    monkeypatch.setattr(edge_index, "QUANTIZE_FROM", quantize_from)
    with opened(tmp_path / "s") as store:
        store.upsert(points)
        assert store.optimize() is True
        assert store.optimize() is False
        assert quantized(tmp_path / "s") == (quantize_from == 5000)
        assert recall(store, points) >= RECALL
        assert recall(store, points, SearchFilter(category="grid")) >= RECALL
        # Whatever comes later is found at once, and changes are kept.
        late = make_points(3, seed=77)
        store.upsert(late)
        assert store.search(late[1].embedding, 1)[0].point.point_id == late[1].point_id
        give_word(store, points[5], "wrong")
    with opened(tmp_path / "s") as store:
        assert store.count() == 6003
        found = store.get(points[5].point_id)
        assert found is not None
        assert found.confirmed == "wrong"
        np.testing.assert_allclose(found.embedding, points[5].embedding, atol=1e-6)
        assert recall(store, points) >= RECALL


def test_few_parts_need_no_index(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as store:
        store.upsert(make_points(300))
        assert store.optimize() is False
        assert recall(store, make_points(300)) == 1.0


def test_a_store_from_before_the_index_gets_its_layout(
    tmp_path: Path, points: list[PartPoint]
) -> None:
    with opened(tmp_path / "s") as store:
        store.upsert(points[:10])
    path = tmp_path / "s" / SHARD_FOLDER
    shutil.rmtree(path)
    path.mkdir()
    plain = qe.EdgeVectorParams(size=LENGTH, distance=qe.Distance.Cosine)
    shard = qe.EdgeShard.create(str(path), qe.EdgeConfig(vectors={VECTOR_NAME: plain}))
    for field in INDEXED_FIELDS:
        kind = qe.PayloadSchemaType.Datetime if field == "time" else qe.PayloadSchemaType.Keyword
        shard.update(qe.UpdateOperation.create_field_index(field, kind))
    shard.flush()
    shard.close()
    with opened(tmp_path / "s") as store:
        store.upsert(points)
        assert store.optimize() is True
        assert recall(store, points, SearchFilter(category="tile")) >= RECALL


def test_a_full_disk_leaves_the_store_as_it_is(
    tmp_path: Path,
    points: list[PartPoint],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    usage = namedtuple("usage", "total used free")
    with opened(tmp_path / "s") as store:
        store.upsert(points)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1 << 40, 1 << 40, 1 << 20))
        assert store.optimize() is False
        assert "MiB free on the disk" in capsys.readouterr().err
        assert recall(store, points) == 1.0
