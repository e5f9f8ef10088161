"""The index of a store in a folder: built when it pays, right in what it finds, int8 where many."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from edge_app.store import SearchFilter, give_word, shard
from edge_app.store.edge import EdgeStore
from edge_app.store.schema import PartPoint
from tests.edge_app.points import BUNDLE, LENGTH, exact_order, make_points


@pytest.fixture(scope="module")
def points() -> list[PartPoint]:
    return make_points(6000)


def opened(folder: Path) -> EdgeStore:
    return EdgeStore(folder, bundle=BUNDLE, embedding_length=LENGTH)


def indexed(store: EdgeStore) -> bool:
    return store._index._shard is not None


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
    return any(folder.rglob("quantized.data"))


# The graph is built by several threads, so it differs from run to run; random points are harder
# than descriptors.
RECALL = 0.95


@pytest.mark.slow
@pytest.mark.parametrize("quantize_from", [shard.QUANTIZE_FROM, 5000])
def test_an_indexed_store_finds_what_brute_force_finds(
    tmp_path: Path, points: list[PartPoint], monkeypatch: pytest.MonkeyPatch, quantize_from: int
) -> None:
    monkeypatch.setattr(shard, "QUANTIZE_FROM", quantize_from)
    with opened(tmp_path) as store:
        store.upsert(points)
        assert recall(store, points) == 1.0
        assert not indexed(store)
        assert store.optimize() is True
        assert store.optimize() is False
        assert indexed(store)
        assert quantized(tmp_path) == (quantize_from == 5000)
        assert recall(store, points) >= RECALL
        assert recall(store, points, SearchFilter(category="grid")) >= RECALL
        # Whatever comes later is found at once, and changes are kept.
        late = make_points(3, seed=77)
        store.upsert(late)
        assert store.search(late[1].embedding, 1)[0].point.point_id == late[1].point_id
        give_word(store, points[5], "wrong")
    with opened(tmp_path) as store:
        assert store.count() == 6003
        found = store.get(points[5].point_id)
        assert found is not None
        assert found.confirmed == "wrong"
        np.testing.assert_array_equal(found.embedding, points[5].embedding)
        assert recall(store, points) >= RECALL
        assert indexed(store)


def test_few_parts_need_no_graph(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.upsert(make_points(300))
        assert store.optimize() is False
        assert recall(store, make_points(300)) == 1.0
        assert indexed(store)


@pytest.mark.slow
def test_a_page_searches_while_another_process_builds(
    tmp_path: Path, points: list[PartPoint]
) -> None:
    with opened(tmp_path) as store:
        store.upsert(points)
        assert store.optimize(wait=False) is True
        assert not indexed(store)
        assert recall(store, points) == 1.0
        late = make_points(3, seed=77)
        store.upsert(late)
        until = time.monotonic() + 120
        while not indexed(store) and time.monotonic() < until:
            time.sleep(0.1)
            assert store.search(late[0].embedding, 1)[0].point.point_id == late[0].point_id
        assert indexed(store)
        assert recall(store, [*points, *late]) >= RECALL
        # Lost once more, it is built once more without being asked for.
        store._index._shard.abandon()  # type: ignore[union-attr]
        assert recall(store, [*points, *late]) == 1.0
        assert store._index._builder is not None
    assert not list((tmp_path / "index").glob("*/next-*"))


def test_a_full_disk_leaves_the_store_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    points = make_points(50)
    caplog.set_level("INFO", "lineside")
    usage = namedtuple("usage", "total used free")
    with opened(tmp_path) as store:
        store.upsert(points)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1 << 40, 1 << 40, 1 << 20))
        assert store.optimize() is False
        assert "MiB free on the disk" in caplog.text
        assert recall(store, points) == 1.0


def test_an_engine_that_cannot_start_costs_speed_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under ``ulimit -u``, which root, who may run the tests, is not held to."""

    def refuse(*_: object) -> None:
        raise RuntimeError("failed to build edge-search thread pool (os error 11)")

    with opened(tmp_path) as store:
        store.upsert(make_points(50))
        monkeypatch.setattr(shard.qe.EdgeShard, "create", refuse, raising=False)
        assert recall(store, make_points(50)) == 1.0
        assert store.optimize() is False


_INDEXER = """
import sys
from pathlib import Path
from edge_app.store import shard
from edge_app.store.edge import EdgeStore
from tests.edge_app.points import BUNDLE, LENGTH
shard.QUANTIZE_FROM = 1
with EdgeStore(Path(sys.argv[1]), bundle=BUNDLE, embedding_length=LENGTH) as store:
    print("begins", flush=True)
    store.optimize()
"""


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs POSIX")
def test_killed_while_building_the_index_nothing_is_lost(
    tmp_path: Path, points: list[PartPoint]
) -> None:
    with opened(tmp_path) as store:
        store.upsert(points)
    for wait_s in (0.0, 0.2, 0.6, 1.5):
        indexer = subprocess.Popen(
            [sys.executable, "-c", _INDEXER, str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert indexer.stdout is not None
        indexer.stdout.readline()
        time.sleep(wait_s)
        indexer.send_signal(signal.SIGKILL)
        indexer.wait()
        with opened(tmp_path) as store:
            assert store.count() == 6000
            for point in points[::500]:
                assert store.search(point.embedding, 1)[0].point.point_id == point.point_id
    with opened(tmp_path) as store:
        store.optimize()
        assert indexed(store)
        assert recall(store, points) >= RECALL
