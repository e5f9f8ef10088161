"""What a store lets go of, that the disk gets it back, and that no word is ever lost."""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_app.retention import Entry, Limits, choose, prune
from edge_app.store import NeighborStore, PartPoint, give_word, open_store
from edge_app.store.edge import EdgeStore
from runtime.errors import StoreError
from tests.cli import lineside
from tests.edge_app.points import BUNDLE, LENGTH, make_points

NOW = datetime(2025, 2, 1, tzinfo=UTC)
OTHER = "fedcba9876543210" * 4
entries = st.lists(
    st.builds(
        Entry,
        point_id=st.uuids().map(str),
        time=st.one_of(
            st.just(""), st.integers(0, 60).map(lambda day: (NOW - timedelta(days=day)).isoformat())
        ),
        confirmed=st.booleans(),
        size_bytes=st.integers(1, 2**19),
    ),
    max_size=25,
    unique_by=lambda entry: entry.point_id,
)
limits = st.builds(
    Limits,
    max_parts=st.none() | st.integers(0, 20),
    max_days=st.none() | st.floats(0, 60),
    max_mib=st.none() | st.floats(0, 5),
)


def kept_by(all_entries: list[Entry], limit: Limits) -> tuple[set[str], list[Entry]]:
    gone = choose(all_entries, limit, NOW)
    assert len(set(gone)) == len(gone)
    return set(gone), [entry for entry in all_entries if entry.point_id not in gone]


@settings(max_examples=60, deadline=None)
@given(entries, limits)
def test_choice_keeps_to_the_limits_and_removes_no_more(
    all_entries: list[Entry], limit: Limits
) -> None:
    gone, kept = kept_by(all_entries, limit)
    free = [entry for entry in kept if not entry.confirmed]
    assert not any(entry.confirmed for entry in all_entries if entry.point_id in gone)
    if free and limit.max_parts is not None:
        assert len(kept) <= limit.max_parts
    if free and limit.max_mib is not None:
        assert sum(entry.size_bytes for entry in kept) <= limit.max_mib * 2**20
    for entry in free:
        if entry.time and limit.max_days is not None:
            assert NOW - datetime.fromisoformat(entry.time) <= timedelta(days=limit.max_days)
    # The newest that went is over some limit if it comes back.
    went = [entry for entry in all_entries if entry.point_id in gone]
    if went:
        newest = max(went, key=lambda entry: (entry.time, entry.point_id))
        old = (
            limit.max_days is not None
            and newest.time != ""
            and (NOW - datetime.fromisoformat(newest.time) > timedelta(days=limit.max_days))
        )
        many = limit.max_parts is not None and len(kept) + 1 > limit.max_parts
        size = sum(entry.size_bytes for entry in kept) + newest.size_bytes
        big = limit.max_mib is not None and size > limit.max_mib * 2**20
        assert old or many or big
    # Oldest first: whatever stays without a word is not older than what went, but for what no age
    # is known of.
    if limit.max_days is None and went and free:
        assert max((e.time, e.point_id) for e in went) < min((e.time, e.point_id) for e in free)


def test_no_limit_removes_nothing() -> None:
    assert choose([Entry("a", "2000-01-01", confirmed=False)], Limits(), NOW) == []


def opened(location: str, bundle: str = BUNDLE, length: int = LENGTH) -> NeighborStore:
    return open_store(location, bundle=bundle, embedding_length=length)


def dated(number: int, **changes: str) -> list[PartPoint]:
    """Part i is i days old."""
    return [
        replace(point, time=(NOW - timedelta(days=index)).isoformat(), **changes)
        for index, point in enumerate(make_points(number))
    ]


def ids(store: NeighborStore) -> set[str]:
    return {part.point_id for page in store.scroll(full=False) for part in page}


def test_oldest_of_each_category_go_and_words_stay(location: str) -> None:
    points = dated(40)
    with opened(location) as store:
        store.upsert(points)
        give_word(store, points[39], "wrong")
        give_word(store, points[38], "right")
        give_word(store, points[38], "")
        report = prune(store, Limits(max_parts=5), now=NOW, batch=4)
        # Points 0, 3, 6, ... are grid (14 of them, among them 39), the others tile.
        grid, tile = (
            [i for i in range(40) if (i % 3 == 0) == is_grid] for is_grid in (True, False)
        )
        assert ids(store) == {points[i].point_id for i in [*grid[:4], 39, *tile[:5]]}
        assert report.removed == {"grid": 9, "tile": 21}
        assert report.kept == {"grid": 5, "tile": 5}
        assert report.confirmed == {"grid": 1, "tile": 0}
        assert prune(store, Limits(max_parts=5), now=NOW).removed_total == 0


def test_by_age_one_category_and_dry(location: str) -> None:
    points = [*dated(20), replace(make_points(1, seed=4)[0], time="", category="tile")]
    with opened(location) as store:
        store.upsert(points)
        rehearsal = prune(store, Limits(max_days=9.5), category="tile", now=NOW, dry_run=True)
        assert store.count() == 21
        assert prune(store, Limits(max_days=9.5), category="tile", now=NOW) == rehearsal
        old_tiles = {point.point_id for i, point in enumerate(points) if 10 <= i < 20 and i % 3}
        assert ids(store) == {point.point_id for point in points} - old_tiles
        assert rehearsal.removed == {"tile": len(old_tiles)}


def test_by_size(location: str) -> None:
    picture = base64.b64encode(bytes(6000)).decode()
    points = dated(30, thumbnail=picture, category="tile")
    with opened(location) as store:
        store.upsert(points)
        report = prune(store, Limits(max_mib=0.1), now=NOW)
        # 8,000 characters of thumbnail, 96 bytes of descriptor and some 400 of payload: 12 parts
        # are 0.1 MiB.
        assert report.kept == {"tile": 12}
        assert ids(store) == {point.point_id for point in points[:12]}


def test_a_word_given_while_it_prunes_counts(location: str) -> None:
    points = dated(10, category="tile")
    with opened(location) as store:
        store.upsert(points)

        def say(_: int) -> None:
            give_word(store, points[9], "wrong")

        prune(store, Limits(max_parts=2), now=NOW, advance=say)
        assert ids(store) == {points[i].point_id for i in (0, 1, 9)}


def test_a_clock_that_is_years_ahead_removes_nothing(location: str) -> None:
    with opened(location) as store:
        store.upsert(dated(6, category="tile"))
        ahead = NOW.replace(year=2099)
        with pytest.raises(StoreError, match=r"found 2099-02-01, by which every part is old"):
            prune(store, Limits(max_days=90), now=ahead)
        assert store.count() == 6
        # By number it may be pruned, whatever the clock says.
        assert prune(store, Limits(max_parts=2), now=ahead).removed_total == 4
        assert prune(store, Limits(max_days=0), now=NOW + timedelta(days=30)).removed_total == 2


def run(*arguments: str) -> tuple[int, str]:
    done = lineside("prune", *arguments)
    return done.returncode, done.stdout


def test_command(location: str) -> None:
    with opened(location) as store:
        store.upsert(dated(30))
    with opened(location, OTHER, 8) as store:
        store.upsert(make_points(9, length=8, bundle=OTHER))
    code, out = run(location, "--max-parts", "4", "--dry-run", "--json")
    planned = json.loads(out)
    assert (code, planned["removed"], planned["kept"], planned["dry_run"]) == (0, 24, 15, True)
    code, out = run(location, "--max-parts", "4", "--bundle", BUNDLE[:8], "--json")
    assert (json.loads(out)["removed"], json.loads(out)["kept"]) == (22, 8)
    code, out = run(location, "--max-parts", "4")
    assert code == 0
    assert "2 parts removed, 15 kept" in out.replace(" 2 removed", "")
    with opened(location) as store:
        assert store.count() == 8


def test_no_limit_is_a_usage_error_and_no_store_a_line(tmp_path: Path) -> None:
    assert run(str(tmp_path))[0] == 2
    assert (
        "expected a store with parts of any bundle, found none"
        in lineside("prune", str(tmp_path), "--max-parts", "3").line()
    )


def test_a_folder_that_is_open_elsewhere_is_pruned_all_the_same(tmp_path: Path) -> None:
    points = make_points(5)
    with opened(str(tmp_path)) as store:
        store.upsert(points)
        assert len(store.search(points[0].embedding, 5)) == 5
        assert run(str(tmp_path), "--max-parts", "1")[0] == 0
        assert store.count() == 2
        assert len(store.search(points[0].embedding, 5)) == 2


def heavy(number: int) -> list[PartPoint]:
    chance = np.random.default_rng(7)
    return [
        replace(point, thumbnail=base64.b64encode(chance.bytes(6000)).decode())
        for point in dated(number, category="tile")
    ]


@pytest.fixture
def disk_path() -> Iterator[Path]:
    """A folder on a real disk: in memory, files that are mapped lose their holes."""
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as folder:
        yield Path(folder)


def test_the_disk_gets_its_space_back_and_the_store_goes_on(disk_path: Path) -> None:
    points = heavy(1500)
    with EdgeStore(disk_path, bundle=BUNDLE, embedding_length=LENGTH, durable=False) as store:
        for start in range(0, 1500, 250):
            store.upsert(points[start : start + 250])
        give_word(store, points[1400], "wrong")
        before = store.disk_bytes()
    assert before > 1500 * 6000
    found = json.loads(run(str(disk_path), "--max-parts", "100", "--json")[1])
    with EdgeStore(disk_path, bundle=BUNDLE, embedding_length=LENGTH) as store:
        after = store.disk_bytes()
    assert (found["removed"], found["kept"]) == (1400, 100)
    assert after < before / 4
    assert found["freed_mib"] > 6
    for _ in range(2):
        with opened(str(disk_path)) as store:
            for point in (*points[:99], points[1400]):
                kept = store.get(point.point_id)
                assert kept is not None
                assert kept.thumbnail == point.thumbnail
                np.testing.assert_array_equal(kept.embedding, point.embedding)
            before_word = store.fetch([points[0].point_id], full=False)[0].confirmed_at
            give_word(store, points[0], "right")
            assert store.fetch([points[0].point_id], full=False)[0].confirmed_at > before_word
            store.upsert([replace(points[1], path="/elsewhere")])
    with opened(str(disk_path)) as store:
        found_again = store.fetch([points[0].point_id, points[1].point_id, points[1400].point_id])
        assert {(part.path, part.confirmed) for part in found_again} == {
            (points[0].path, "right"),
            ("/elsewhere", ""),
            (points[1400].path, "wrong"),
        }
        store.delete([points[1].point_id])
        assert store.count() == 99


def test_a_limit_before_the_calendar_removes_nothing():
    old = [Entry("a", "0001-01-01T00:00:00+00:00", confirmed=False)]
    assert choose(old, Limits(max_days=800_000.0), NOW) == []
    assert choose(old, Limits(max_days=1.0), NOW) == ["a"]


@pytest.mark.parametrize("option", ["--max-days", "--max-mib"])
def test_a_limit_that_is_no_number_is_refused(option, tmp_path):
    done = lineside("prune", tmp_path, option, "nan")
    assert done.returncode == 2
    assert "expected a finite number" in done.stderr
