"""One contract for every kind of store: folder, memory, qdrant-client's local mode, server."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from qdrant_client import QdrantClient

from edge_app.store import Merged, NeighborStore, PartPoint, SearchFilter, give_word, open_store
from edge_app.store.connect import connect
from edge_app.store.remote import RemoteStore
from edge_app.store.schema import point_id
from runtime.errors import StoreError
from tests.edge_app.points import BUNDLE, LENGTH, exact_order, make_points

EARLY, LATE, LATER = (
    f"2025-03-01T08:00:00.{digits}+00:00" for digits in ("000001", "000002", "500000")
)
Opener = Callable[[], NeighborStore]
SERVER = os.environ.get("QDRANT_URL", "")
needs_server = pytest.mark.skipif(
    not SERVER, reason="set QDRANT_URL to a Qdrant server to run this"
)


@pytest.fixture(
    params=[
        "folder",
        "memory",
        "client-local",
        pytest.param("server-rest", marks=needs_server),
        pytest.param("server-grpc", marks=needs_server),
    ]
)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NeighborStore]:
    kind = request.param
    if kind.startswith("server"):
        client = connect(SERVER + ("?prefer_grpc=1" if kind == "server-grpc" else ""))
        opened: NeighborStore = RemoteStore(
            client, bundle=BUNDLE, embedding_length=LENGTH, name=SERVER
        )
        client.delete_collection(opened.collection)
        opened.close()
        opened = RemoteStore(
            connect(SERVER + ("?prefer_grpc=1" if kind == "server-grpc" else "")),
            bundle=BUNDLE,
            embedding_length=LENGTH,
            name=SERVER,
        )
    elif kind == "client-local":
        opened = RemoteStore(QdrantClient(":memory:"), bundle=BUNDLE, embedding_length=LENGTH)
    else:
        location = "memory:" if kind == "memory" else str(tmp_path / "neighbours")
        opened = open_store(location, bundle=BUNDLE, embedding_length=LENGTH)
    with opened:
        yield opened


def test_search_agrees_with_brute_force(store: NeighborStore) -> None:
    points = make_points(200)
    store.upsert(points)
    for query in make_points(20, seed=9):
        found = store.search(query.embedding, 5)
        expected = exact_order(query.embedding, points)[:5]
        assert [hit.point.point_id for hit in found] == [identifier for _, identifier in expected]
        assert [hit.similarity for hit in found] == pytest.approx(
            [value for value, _ in expected], abs=1e-5
        )


def test_search_of_an_unnormalized_descriptor_is_the_same(store: NeighborStore) -> None:
    points = make_points(30)
    store.upsert([replace(point, embedding=point.embedding * 7) for point in points])
    found = store.search(points[3].embedding * 0.01, 2)
    assert found[0].point.point_id == points[3].point_id
    assert found[0].similarity == pytest.approx(1.0, abs=1e-5)


def test_fields_survive(store: NeighborStore) -> None:
    point = replace(
        make_points(3)[1],
        path="/teile/straße 7/привет.png",
        confirmed="wrong",
        raw_score=-3.25,
        confirmed_at=LATE,
    )
    store.upsert([point])
    found = store.get(point.point_id)
    assert found is not None
    assert found.payload() == point.payload()
    np.testing.assert_allclose(found.embedding, point.embedding, atol=1e-6)
    hit = store.search(point.embedding, 1)[0].point
    assert hit.payload() == point.payload()
    assert hit.embedding.size == 0


def test_empty_store_and_fewer_than_k(store: NeighborStore) -> None:
    points = make_points(3)
    assert store.count() == 0
    assert store.search(points[0].embedding, 5) == []
    assert store.get(points[0].point_id) is None
    store.upsert([])
    store.upsert(points)
    assert len(store.search(points[0].embedding, 5)) == 3


def test_upsert_twice_changes_nothing_and_replaces(store: NeighborStore) -> None:
    points = make_points(40)
    store.upsert(points)
    store.upsert(points)
    assert store.count() == 40
    store.upsert([replace(points[0], verdict="cannot_judge")])
    assert store.count() == 40
    again = store.get(points[0].point_id)
    assert again is not None
    assert again.verdict == "cannot_judge"


@pytest.mark.parametrize(
    "where",
    [
        SearchFilter(category="grid"),
        SearchFilter(verdict="anomalous"),
        SearchFilter(camera="left"),
        SearchFilter(camera="right"),
        SearchFilter(category="tile", verdict="good"),
        SearchFilter(category="nothing of the kind"),
        SearchFilter(min_score=0.5),
        SearchFilter(verdict="good", min_score=0.25, max_score=0.75),
        SearchFilter(max_score=-1.0),
        SearchFilter(since="2025-01-10T12:00:00+00:00"),
        SearchFilter(until="2025-01-10T12:00:00+00:00"),
        SearchFilter(since="2025-01-05", until="2025-01-06T13:00:00+01:00"),
        SearchFilter(since="2025-01-05T14:00:00+02:00", until="2025-01-05T12:00:01Z"),
    ],
)
def test_filters_agree_with_brute_force(store: NeighborStore, where: SearchFilter) -> None:
    points = make_points(90)
    store.upsert(points)

    def day(text: str | None) -> np.datetime64 | None:
        # An independent reading of the times: numpy wants UTC without an offset.
        plain = {
            "2025-01-05": "2025-01-05",
            "2025-01-06T13:00:00+01:00": "2025-01-06T12:00:00",
            "2025-01-05T14:00:00+02:00": "2025-01-05T12:00:00",
            "2025-01-05T12:00:01Z": "2025-01-05T12:00:01",
            "2025-01-10T12:00:00+00:00": "2025-01-10T12:00:00",
        }
        return None if text is None else np.datetime64(plain[text])

    since, until = day(where.since), day(where.until)
    wanted = [
        point
        for point in points
        if (where.category is None or point.category == where.category)
        and (where.verdict is None or point.verdict == where.verdict)
        and (where.camera is None or point.camera == where.camera)
        and (where.min_score is None or point.normalized_score >= where.min_score)
        and (where.max_score is None or point.normalized_score <= where.max_score)
        and (since is None or np.datetime64(point.time[:19]) >= since)
        and (until is None or np.datetime64(point.time[:19]) < until)
    ]
    assert store.count(where) == len(wanted)
    query = make_points(1, seed=5)[0].embedding
    expected = [identifier for _, identifier in exact_order(query, wanted)[:5]] if wanted else []
    assert [hit.point.point_id for hit in store.search(query, 5, where)] == expected


def test_exclude_ids(store: NeighborStore) -> None:
    points = make_points(20)
    store.upsert(points)
    where = SearchFilter(exclude_ids=(points[4].point_id, points[5].point_id.upper()))
    found = [hit.point.point_id for hit in store.search(points[4].embedding, 20, where)]
    assert len(found) == 18
    assert points[4].point_id not in found
    assert points[5].point_id not in found


def test_operators_word(store: NeighborStore) -> None:
    points = make_points(12)
    store.upsert(points)
    give_word(store, points[2], "wrong")
    give_word(store, points[7], "right")
    give_word(store, points[8], "right")
    give_word(store, points[8], "")
    assert store.count(SearchFilter(confirmed_only=True)) == 2
    found = store.get(points[2].point_id)
    assert found is not None
    assert found.payload() == {
        **points[2].payload(),
        "confirmed": "wrong",
        "confirmed_at": found.confirmed_at,
    }
    assert (datetime.now(UTC) - datetime.fromisoformat(found.confirmed_at)).total_seconds() < 60
    hits = store.search(points[8].embedding, 5, SearchFilter(confirmed_only=True))
    assert {hit.point.point_id for hit in hits} == {points[2].point_id, points[7].point_id}


def test_operators_word_brings_the_part_and_must_be_known(store: NeighborStore) -> None:
    point = make_points(1)[0]
    with pytest.raises(StoreError, match="'right', 'wrong'"):
        give_word(store, point, "maybe")
    assert store.count() == 0
    give_word(store, point, "right")
    found = store.get(point.point_id)
    assert found is not None
    assert found.confirmed == "right"
    np.testing.assert_allclose(found.embedding, point.embedding, atol=1e-6)


@pytest.mark.parametrize("there", ["31.1.2025 08:00", "9999-12-31T23:59:59.999999+00:00"])
def test_a_word_is_stored_over_one_with_an_odd_time(store: NeighborStore, there: str) -> None:
    (point,) = make_points(1)
    store.upsert([replace(point, confirmed="right", confirmed_at=LATE)])
    if isinstance(store, RemoteStore):
        # Written by another program, past all checks.
        store._client.set_payload(
            store.collection, {"confirmed_at": there}, points=[point.point_id], wait=True
        )
    elif there.startswith("9999"):
        store.upsert([replace(point, confirmed="right", confirmed_at=there)])
    give_word(store, point, "wrong")
    found = store.get(point.point_id)
    assert found is not None
    assert found.confirmed == "wrong"


def test_a_word_that_the_store_does_not_keep_is_an_error(
    store: NeighborStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    (point,) = make_points(1)
    monkeypatch.setattr(store, "merge", lambda _: Merged())
    with pytest.raises(
        StoreError, match="expected the word 'wrong' to be stored, found the part removed"
    ):
        give_word(store, point, "wrong")


def test_a_zero_descriptor_is_like_nothing(store: NeighborStore) -> None:
    points = make_points(5)
    store.upsert([replace(points[0], embedding=np.zeros(LENGTH, dtype=np.float32)), *points[1:]])
    found = store.search(points[1].embedding, 5)
    assert {hit.point.point_id: hit.similarity for hit in found}[
        points[0].point_id
    ] == pytest.approx(0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"embedding": np.ones(LENGTH + 1, dtype=np.float32)},
            r"expected shape \(24,\), found \(25,\)",
        ),
        ({"embedding": np.ones((1, LENGTH), dtype=np.float32)}, r"found \(1, 24\)"),
        ({"embedding": np.full(LENGTH, np.nan, dtype=np.float32)}, "finite"),
        ({"embedding": np.full(LENGTH, np.inf, dtype=np.float32)}, "finite"),
        (
            {"bundle": "another"},
            "expected a part inspected with bundle 0123456789abcdef, found one of another",
        ),
        ({"raw_score": float("nan")}, "finite raw_score"),
        ({"normalized_score": float("inf")}, "finite normalized_score"),
        ({"time": "yesterday"}, "ISO 8601"),
        ({"confirmed": "perhaps"}, "'right', 'wrong'"),
        ({"confirmed": "right", "confirmed_at": "just now"}, "ISO 8601"),
        ({"point_id": "7"}, "UUID"),
    ],
)
def test_unusable_points_are_refused_and_nothing_is_written(
    store: NeighborStore, change: dict[str, object], message: str
) -> None:
    points = make_points(3)
    with pytest.raises(StoreError, match=message):
        store.upsert([points[0], replace(points[1], **change), points[2]])  # type: ignore[arg-type]
    assert store.count() == 0


def test_unusable_queries_are_refused(store: NeighborStore) -> None:
    good = make_points(1)[0].embedding
    with pytest.raises(StoreError, match="shape"):
        store.search(good[:-1])
    with pytest.raises(StoreError, match="finite"):
        store.search(np.full(LENGTH, np.nan, dtype=np.float32))
    with pytest.raises(StoreError, match="at least 1"):
        store.search(good, 0)
    with pytest.raises(StoreError, match="ISO 8601"):
        store.search(good, 5, SearchFilter(since="last week"))
    with pytest.raises(StoreError, match="UUID"):
        store.search(good, 5, SearchFilter(exclude_ids=("x",)))
    with pytest.raises(StoreError, match="UUID"):
        store.get("x")


def test_closed_store_says_so(store: NeighborStore) -> None:
    point = make_points(1)[0]
    store.close()
    store.close()
    for use in (
        store.count,
        lambda: store.search(point.embedding),
        lambda: store.upsert([point]),
        lambda: store.get(point.point_id),
        lambda: store.fetch([point.point_id]),
        lambda: list(store.scroll()),
        lambda: store.delete([point.point_id]),
        lambda: store.merge([point]),
    ):
        with pytest.raises(StoreError, match="closed"):
            use()


def test_fetch_returns_what_is_there(store: NeighborStore) -> None:
    points = make_points(6)
    store.upsert(points[:5])
    wanted = [points[4].point_id, points[1].point_id.upper(), points[5].point_id]
    found = {part.point_id: part for part in store.fetch(wanted)}
    assert set(found) == {points[4].point_id, points[1].point_id}
    np.testing.assert_allclose(found[points[4].point_id].embedding, points[4].embedding, atol=1e-6)
    light = store.fetch([points[1].point_id], full=False)[0]
    assert light.payload() == {**points[1].payload(), "thumbnail": ""}
    assert light.embedding.size == 0
    assert store.fetch([]) == []


@pytest.mark.parametrize("batch", [1, 7, 300])
def test_scroll_meets_every_part_once(store: NeighborStore, batch: int) -> None:
    points = make_points(50)
    store.upsert(points)
    pages = list(store.scroll(batch=batch))
    assert max(map(len, pages)) == min(batch, 50)
    found = [part for page in pages for part in page]
    assert [part.point_id for part in found] == sorted(point.point_id for point in points)
    by_id = {point.point_id: point for point in points}
    for part in found:
        np.testing.assert_allclose(part.embedding, by_id[part.point_id].embedding, atol=1e-6)
        assert part.payload() == by_id[part.point_id].payload()
    tiles = [
        part
        for page in store.scroll(SearchFilter(category="tile"), batch, full=False)
        for part in page
    ]
    assert {part.point_id for part in tiles} == {p.point_id for p in points if p.category == "tile"}
    assert all(part.embedding.size == 0 and not part.thumbnail and part.path for part in tiles)


def test_scroll_of_nothing_and_by_nothing(store: NeighborStore) -> None:
    assert list(store.scroll()) == []
    with pytest.raises(StoreError, match="at least 1"):
        next(store.scroll(batch=0))


def test_scroll_while_parts_are_deleted(store: NeighborStore) -> None:
    points = make_points(40)
    store.upsert(points)
    for page in store.scroll(batch=8, full=False):
        store.delete([part.point_id for part in page])
    assert store.count() == 0


def test_delete_removes_what_is_named(store: NeighborStore) -> None:
    points = make_points(20)
    store.upsert(points)
    give_word(store, points[3], "wrong")
    give_word(store, points[4], "right")
    give_word(store, points[4], "")
    named = [point.point_id for point in points[:6]]
    store.delete([], keep_confirmed=True)
    store.delete([*named, point_id(b"unknown", BUNDLE)], keep_confirmed=True)
    assert {part.point_id for part in store.fetch(named)} == {points[3].point_id}
    assert store.count() == 15
    store.delete(named)
    assert store.count() == 14
    with pytest.raises(StoreError, match="UUID"):
        store.delete(["x"])
    assert [hit.point.point_id for hit in store.search(points[3].embedding, 20)].count(
        points[3].point_id
    ) == 0


def test_a_word_without_a_time_is_given_now(store: NeighborStore) -> None:
    points = make_points(3)
    store.upsert([replace(points[0], confirmed="right"), points[1]])
    found = store.get(points[0].point_id)
    assert found is not None
    assert datetime.now(UTC) - datetime.fromisoformat(found.confirmed_at) < timedelta(minutes=1)
    untouched = store.get(points[1].point_id)
    assert untouched is not None
    assert not untouched.confirmed_at


def test_a_word_is_later_than_the_one_it_replaces(store: NeighborStore) -> None:
    ahead = "2999-01-01T00:00:00+00:00"
    point = replace(make_points(1)[0], confirmed="right", confirmed_at=ahead)
    store.upsert([point])
    give_word(store, point, "wrong")
    found = store.get(point.point_id)
    assert found is not None
    assert datetime.fromisoformat(found.confirmed_at) - datetime.fromisoformat(ahead) == timedelta(
        microseconds=1
    )


def test_merge_adds_what_is_missing_and_leaves_the_rest(store: NeighborStore) -> None:
    points = make_points(10)
    store.upsert(points[:6])
    others = [replace(point, path="/elsewhere", confirmed="right") for point in points[4:]]
    assert store.merge(others) == Merged(added=4, words=2, unchanged=0)
    # A word from before the field existed gets no time: made up, it would beat real ones.
    found = {part.point_id: part for page in store.scroll() for part in page}
    assert [found[point.point_id].path for point in points] == [
        point.path for point in points[:6]
    ] + ["/elsewhere"] * 4
    assert {(part.confirmed, part.confirmed_at) for part in found.values()} == {
        ("", ""),
        ("right", ""),
    }
    assert store.merge(others) == Merged(unchanged=6)
    assert store.merge([]) == Merged()


@pytest.mark.parametrize(
    ("there", "coming", "wins"),
    [
        (("", ""), ("wrong", LATE), True),
        (("right", EARLY), ("wrong", LATE), True),
        (("right", LATE), ("wrong", EARLY), False),
        (("right", EARLY), ("", LATE), True),
        (("", LATE), ("right", EARLY), False),
        (("right", ""), ("", EARLY), True),
        (("right", EARLY), ("wrong", ""), False),
        (("right", ""), ("wrong", ""), True),
        (("wrong", LATE), ("right", LATE), False),
        (("right", LATE), ("wrong", LATE), True),
        (("right", LATE), ("wrong", LATER), True),
        (("right", LATE), ("wrong", "2025-03-01T09:00:00.500000+01:00"), True),
        (("right", LATE), ("right", LATE), False),
    ],
)
def test_newest_word_wins_in_whatever_order_they_come(
    store: NeighborStore, there: tuple[str, str], coming: tuple[str, str], wins: bool
) -> None:
    def with_word(point: PartPoint, word: tuple[str, str]) -> PartPoint:
        return replace(point, confirmed=word[0], confirmed_at=word[1])

    first, second = make_points(2)
    store.merge([with_word(first, there), with_word(second, coming)])
    assert store.merge([with_word(first, coming)]).words == wins
    assert store.merge([with_word(second, there)]).words == (not wins and there != coming)
    ends = {
        (part.confirmed, part.confirmed_at)
        for part in store.fetch([first.point_id, second.point_id])
    }
    assert len(ends) == 1
    assert ends.pop()[0] == (coming if wins else there)[0]


def test_a_word_brings_the_verdict_that_it_is_on(store: NeighborStore) -> None:
    """Another box had another threshold: "wrong" was said of its verdict, not of this one's."""
    (point,) = make_points(1)
    store.upsert([replace(point, verdict="anomalous", raw_score=9.0, normalized_score=0.9)])
    other = replace(point, verdict="good", raw_score=8.5, normalized_score=0.4, path="/other/box")
    assert store.merge([replace(other, confirmed="wrong", confirmed_at=LATE)]).words == 1
    found = store.get(point.point_id)
    assert found is not None
    assert (found.verdict, found.raw_score, found.normalized_score) == ("good", 8.5, 0.4)
    assert (found.confirmed, found.path) == ("wrong", point.path)


def test_merge_refuses_unusable_points_and_writes_nothing(store: NeighborStore) -> None:
    points = make_points(3)
    with pytest.raises(StoreError, match="finite raw_score"):
        store.merge([points[0], replace(points[1], raw_score=float("nan"))])
    assert store.count() == 0


def test_eight_threads(store: NeighborStore, request: pytest.FixtureRequest) -> None:
    if "client-local" in request.node.name:
        pytest.skip(
            "qdrant-client documents its local mode as not safe under threads; no box runs on it"
        )
    points = make_points(320)
    store.upsert(points[:40])

    def work(thread: int) -> int:
        mine = points[thread * 40 : (thread + 1) * 40]
        wrong = 0
        for point in mine:
            store.upsert([point])
            give_word(store, point, "right")
            found = store.search(point.embedding, 3)
            wrong += found[0].point.point_id != point.point_id or found[0].similarity < 0.999
        return wrong

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(work, range(8))) == 0
    assert store.count() == 320
    assert store.count(SearchFilter(confirmed_only=True)) == 320


def test_ids_depend_on_content_and_bundle_alone() -> None:
    first = point_id(b"content", "a")
    assert first == point_id(b"content", "a")
    assert uuid.UUID(first).version == 5
    assert (
        len({first, point_id(b"content", "b"), point_id(b"Content", "a"), point_id(b"", "a")}) == 4
    )


@pytest.mark.parametrize("where", [None, SearchFilter(verdict="good"), SearchFilter(confirmed="")])
def test_the_newest_parts_come_page_by_page_and_none_twice(
    store: NeighborStore, where: SearchFilter | None
) -> None:
    # Four to five parts share each time.
    points = make_points(120)
    store.upsert(points)
    for point in points[:10]:
        give_word(store, point, "right")
    wanted = [
        point
        for number, point in enumerate(points)
        if where is None
        or (where.verdict == "good" and point.verdict == "good")
        or (where.confirmed == "" and number >= 10)
    ]
    order = sorted(wanted, key=lambda point: (point.time, point.point_id), reverse=True)
    found: list[PartPoint] = []
    while page := store.recent(
        where, (found[-1].time, found[-1].point_id) if found else None, size=7
    ):
        assert len(page) <= 7
        found += page
    assert [part.point_id for part in found] == [point.point_id for point in order]
    assert all(part.embedding.size == 0 and not part.thumbnail for part in found)


def test_a_word_has_a_defect_and_a_note_and_what_was_said_before_stays(
    store: NeighborStore,
) -> None:
    (point,) = make_points(1)
    store.upsert([point])
    assert store.words(point.point_id) == []
    give_word(store, point, "right", "anna", defect="crack", note="at the edge")
    give_word(store, point, "wrong", "ben")
    *before, last = store.words(point.point_id)
    assert (last.what, last.who, last.defect, last.note) == ("wrong", "ben", "", "")
    # A server keeps the newest word alone.
    for word in before:
        assert (word.what, word.who, word.defect) == ("right", "anna", "crack")
        assert (word.note, word.verdict) == ("at the edge", point.verdict)
    stored = store.get(point.point_id)
    assert stored is not None
    assert (stored.confirmed_by, stored.confirmed_defect) == ("ben", "")
    assert stored.defect_type == point.defect_type


def test_the_index_says_how_far_it_is_behind(store: NeighborStore) -> None:
    points = make_points(3)
    store.upsert(points)
    assert store.lag() in (0, 3)
    store.search(points[0].embedding)
    assert store.lag() == 0
