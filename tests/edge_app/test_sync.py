"""A box and a server catch up, whatever the network does: the union, the newest words."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_app.catching_up import SyncReport, sync
from edge_app.store import NeighborStore, PartPoint, give_word, open_store
from edge_app.store.connect import StoreUnreachableError
from edge_app.store.inventory import held_at
from edge_app.store.remote import RemoteStore
from edge_app.store.schema import INDEXED_FIELDS
from runtime.errors import StoreError
from tests.cli import COMMAND, lineside
from tests.edge_app.faulty_proxy import BUSY, FAULTS, LATE, LOSE_ANSWER, LOSE_REQUEST, PASS, proxied
from tests.edge_app.points import BUNDLE, LENGTH, make_points
from tests.edge_app.qdrant_stand_in import qdrant
from tests.edge_app.tiny_bundle import LENGTH as TINY_LENGTH
from tests.edge_app.tiny_bundle import write_tiny_bundle

OTHER = "fedcba9876543210" * 4
DAY = "2025-03-{:02d}T08:00:00+00:00"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def url() -> Iterator[str]:
    with qdrant() as address:
        yield address


@contextmanager
def opened(location: str, pauses_s: Sequence[float] = ()) -> Iterator[NeighborStore]:
    with open_store(location, bundle=BUNDLE, embedding_length=LENGTH, pauses_s=pauses_s) as store:
        yield store


def contents(store: NeighborStore) -> dict[str, PartPoint]:
    found = [part for page in store.scroll() for part in page]
    assert len({part.point_id for part in found}) == len(found)
    return {part.point_id: part for part in found}


def words(parts: dict[str, PartPoint]) -> dict[str, tuple[str, str]]:
    return {key: (part.confirmed, part.confirmed_at) for key, part in parts.items()}


def with_word(point: PartPoint, word: str, day: int) -> PartPoint:
    return replace(point, confirmed=word, confirmed_at=DAY.format(day))


def test_a_pulled_word_brings_the_verdict_that_it_is_on(tmp_path: Path, url: str) -> None:
    (point,) = make_points(1)
    with opened(str(tmp_path)) as box, opened(url) as server:
        box.merge([replace(point, verdict="anomalous", raw_score=9.0)])
        server.merge([with_word(replace(point, verdict="good", raw_score=8.5), "wrong", 2)])
        assert sync(box, server).words_pulled == 1
        held = contents(box)[point.point_id]
        assert (held.verdict, held.raw_score, held.confirmed) == ("good", 8.5, "wrong")


def test_both_sides_get_what_they_lack(tmp_path: Path, url: str) -> None:
    points = make_points(30)
    with opened(str(tmp_path)) as box, opened(url) as server:
        box.merge([with_word(points[0], "right", 1), *points[1:20]])
        server.merge([*points[15:25], *(with_word(point, "wrong", 2) for point in points[25:])])
        assert sync(box, server, batch=7) == SyncReport(pushed=15, pulled=5, unchanged=5)
        assert set(contents(server)) == {point.point_id for point in points}
        held = contents(box)
        # Nobody has said anything on 20 to 24, so they stay with the server.
        assert set(held) == {point.point_id for point in (*points[:20], *points[25:])}
        assert held[points[27].point_id].thumbnail == points[27].thumbnail
        np.testing.assert_allclose(
            held[points[27].point_id].embedding, points[27].embedding, atol=1e-6
        )
        assert sync(box, server, batch=7) == SyncReport(unchanged=25)


def test_newest_word_wins_on_both_sides(tmp_path: Path, url: str) -> None:
    mine, theirs, withdrawn, legacy, same = make_points(5)
    with opened(str(tmp_path)) as box, opened(url) as server:
        box.merge(
            [
                with_word(mine, "wrong", 9),
                with_word(theirs, "wrong", 3),
                with_word(withdrawn, "right", 3),
                replace(legacy, confirmed="right"),
                with_word(same, "right", 5),
            ]
        )
        server.merge(
            [
                with_word(mine, "right", 8),
                with_word(theirs, "right", 4),
                with_word(withdrawn, "", 4),
                with_word(legacy, "wrong", 1),
                with_word(same, "right", 5),
            ]
        )
        assert sync(box, server) == SyncReport(words_pushed=1, words_pulled=3, unchanged=1)
        assert words(contents(box)) == words(contents(server))
        assert words(contents(box)) == {
            mine.point_id: ("wrong", DAY.format(9)),
            theirs.point_id: ("right", DAY.format(4)),
            withdrawn.point_id: ("", DAY.format(4)),
            legacy.point_id: ("wrong", DAY.format(1)),
            same.point_id: ("right", DAY.format(5)),
        }


def scripted(seed: int, share: float) -> Callable[[int, str], str]:
    chance = random.Random(seed)
    return lambda *_: chance.choice(FAULTS) if chance.random() < share else PASS


def catch_up(location: str, url: str, limit: int = 60) -> int:
    """Run until a run goes through; returns the number of runs."""
    for run in range(1, limit):
        try:
            with opened(location) as box, opened(url, pauses_s=(0.0, 0.0)) as server:
                sync(box, server, batch=5)
        except StoreUnreachableError:
            continue
        return run
    raise AssertionError(f"no run of {limit} went through")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, *(pytest.param(s, marks=pytest.mark.nightly) for s in (1, 2))])
def test_two_boxes_over_a_bad_network_hold_the_union_and_the_newest_words(
    tmp_path: Path, url: str, seed: int
) -> None:
    points = make_points(40)
    chance = random.Random(1000 + seed)
    truth: dict[str, PartPoint] = {}
    with opened(url) as server:
        for name, mine in (("left", points[:28]), ("right", points[16:])):
            with opened(str(tmp_path / name)) as box:
                said = [
                    with_word(point, chance.choice(["right", "wrong", ""]), chance.randint(1, 28))
                    if chance.random() < 0.5
                    else point
                    for point in mine
                ]
                box.merge(said)
            for point in said:
                best = truth.setdefault(point.point_id, point)
                # The reference is written anew: plain comparison of (day, word) as text.
                if (point.confirmed_at, point.confirmed) > (best.confirmed_at, best.confirmed):
                    truth[point.point_id] = point
        with proxied(url, scripted(seed, 0.4)) as proxy:
            for _ in range(2):
                for name in ("left", "right"):
                    catch_up(str(tmp_path / name), proxy.url)
            # The last stragglers come when everybody thinks that all is done.
            proxy.deliver_late()
            assert {what for what, _ in proxy.log} >= {PASS, LOSE_REQUEST, LOSE_ANSWER}
        for name, mine in (("left", points[:28]), ("right", points[16:])):
            with opened(str(tmp_path / name)) as box:
                confirmed = {key for key, part in truth.items() if part.confirmed}
                expected = {point.point_id for point in mine} | confirmed
                assert words(contents(box)) == {key: words(truth)[key] for key in expected}
        assert words(contents(server)) == words(truth)
        by_id = {point.point_id: point for point in points}
        for key, part in contents(server).items():
            np.testing.assert_allclose(part.embedding, by_id[key].embedding, atol=1e-6)
            assert part.path == by_id[key].path


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_on_each_request(tmp_path: Path, url: str, fault: str) -> None:
    """One fault, at every place in turn; one run with its repetitions gets over it."""
    points = make_points(12)
    everything = [point.point_id for point in points]
    with opened(url) as server, opened("memory:") as box:
        for place in range(40):
            server.delete(everything)
            box.delete(everything)
            box.upsert(points[:8])
            server.merge([with_word(point, "wrong", 2) for point in points[6:]])
            with proxied(
                url, lambda number, _, place=place: fault if number == place else PASS
            ) as proxy:
                with opened(proxy.url, pauses_s=(0.0, 0.0)) as through:
                    sync(box, through, batch=5)
                proxy.deliver_late()
            assert set(contents(box)) == set(contents(server)) == set(everything)
            assert words(contents(box)) == words(contents(server))
            assert sum(part.confirmed == "wrong" for part in contents(server).values()) == 6
            if place >= len(proxy.log):
                break
    assert 8 < len(proxy.log) <= place


def test_a_late_copy_of_a_push_takes_no_word_back(tmp_path: Path, url: str) -> None:
    points = make_points(4)
    held: list[int] = []

    def script(number: int, line: str) -> str:
        if not held and line.startswith("PUT") and "/points?" in line:
            held.append(number)
            return LATE
        return PASS

    with proxied(url, script) as proxy, opened(str(tmp_path)) as box, opened(url) as server:
        box.upsert(points)
        with opened(proxy.url, pauses_s=(0.0,)) as through:
            assert sync(box, through).pushed == 4
        # The copy is due after some requests more, and these go past the proxy.
        assert len(proxy.waiting) == 1
        give_word(server, points[2], "wrong")
        proxy.deliver_late()
        found = server.get(points[2].point_id)
        assert found is not None
        assert found.confirmed == "wrong"


@pytest.mark.parametrize("mine_is_later", [True, False])
def test_two_boxes_give_a_word_on_the_same_new_part_at_once(
    url: str, monkeypatch: pytest.MonkeyPatch, mine_is_later: bool
) -> None:
    """Each sees that the server lacks the part before the other has written it."""
    point = make_points(1)[0]
    theirs = with_word(replace(point, verdict="anomalous"), "right", 1 if mine_is_later else 3)
    mine = with_word(replace(point, verdict="good"), "wrong", 2)
    with opened(url) as one, opened(url) as other:
        read = one.fetch

        def fetch(identifiers: Sequence[str], *, full: bool = True) -> list[PartPoint]:
            found = read(identifiers, full=full)
            other.merge([theirs])
            return found

        monkeypatch.setattr(one, "fetch", fetch)
        one.merge([mine])
        (found,) = contents(other).values()
    assert (found.confirmed, found.verdict) == (
        ("wrong", "good") if mine_is_later else ("right", "anomalous")
    )


def test_what_another_program_left_on_the_server_does_not_keep_the_rest_from_coming(
    tmp_path: Path, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "lineside")
    points = [with_word(point, "wrong", 2) for point in make_points(6)]
    with opened(str(tmp_path)) as box, opened(url) as server:
        server.merge(points)
        assert isinstance(server, RemoteStore)
        server._client.delete_payload(
            server.collection, ["raw_score"], points=[points[2].point_id], wait=True
        )
        report = sync(box, server)
        assert (report.pulled, report.unusable) == (5, 1)
        assert "expected a finite raw_score" in caplog.text
        assert box.count() == 5


def test_a_server_that_comes_back_empty_takes_parts_again(url: str) -> None:
    points = make_points(3)
    with opened(url) as server:
        server.merge(points)
        assert isinstance(server, RemoteStore)
        server._client.delete_collection(server.collection)
        assert server.count() == 0
        give_word(server, points[0], "right")
        assert server.count() == 1


def test_indexes_that_a_broken_network_left_out_are_made_at_the_next_opening(url: str) -> None:
    asked: list[str] = []

    def script(_: int, line: str) -> str:
        asked.extend([line] if "/index" in line else [])
        # The second is lost, and with it those that would have followed.
        return BUSY if "/index" in line and len(asked) == 2 else PASS

    with proxied(url, script) as proxy:
        with pytest.raises(StoreError, match="503"), opened(proxy.url):
            pass
        assert len(asked) == 2
        with opened(proxy.url):
            pass
    assert len(asked) >= len(INDEXED_FIELDS) + 1


def test_server_that_stays_away_is_one_line_and_the_box_keeps_its_parts(
    tmp_path: Path, url: str
) -> None:
    with opened(str(tmp_path)) as box:
        box.upsert(make_points(20))
        with proxied(url, lambda number, _: PASS if number < 14 else BUSY) as proxy:
            with (
                opened(proxy.url, pauses_s=(0.0,)) as server,
                pytest.raises(StoreError, match="503") as error,
            ):
                sync(box, server, batch=2, report=(report := SyncReport()))
            assert "\n" not in str(error.value)
        assert box.count() == 20
    assert report.pushed > 0
    with opened(url) as server:
        assert server.count() >= report.pushed


def run(*arguments: object) -> tuple[int, str, str]:
    done = lineside("sync", *arguments)
    return done.returncode, done.stdout, done.stderr


def test_command_takes_every_bundle_and_can_be_restricted(tmp_path: Path, url: str) -> None:
    location = str(tmp_path / "neighbours")
    others = make_points(7, length=8, bundle=OTHER)
    with opened(location) as box:
        box.upsert(make_points(5))
    with open_store(location, bundle=OTHER, embedding_length=8) as box:
        box.upsert(others)
    code, out, _ = run(location, url, "--bundle", OTHER[:10], "--json")
    found = json.loads(out)
    assert (code, found["pushed"], [entry["bundle"] for entry in found["bundles"]]) == (
        0,
        7,
        [OTHER],
    )
    code, out, _ = run(location, url, "--json")
    found = json.loads(out)
    assert (code, found["pushed"], found["pulled"], found["unchanged"]) == (0, 5, 0, 7)
    assert {entry.bundle for entry in held_at(url)} == {BUNDLE, OTHER}
    code, out, _ = run(location, url)
    assert "0 parts pushed" in out
    assert "12 alike" in out


def test_a_new_box_names_the_bundle(tmp_path: Path, url: str) -> None:
    from edge_app.store.inventory import held_of

    bundle = write_tiny_bundle(tmp_path / "tile-tiny")
    held = held_of(bundle)
    points = make_points(3, length=TINY_LENGTH, bundle=held.bundle)
    with open_store(url, bundle=held.bundle, embedding_length=TINY_LENGTH) as server:
        server.upsert([replace(points[0], confirmed="wrong"), *points[1:]])
    location = str(tmp_path / "new")
    assert (
        "expected a store with parts of any bundle, found none"
        in lineside("sync", location, url).line()
    )
    assert not Path(location).exists()
    _, out, _ = run(location, url, "--bundle", str(bundle), "--json")
    assert json.loads(out)["pulled"] == 1


@pytest.mark.parametrize(
    "arguments",
    [("http://a:6333", "http://b:6333"), ("here", "there"), ("memory:", "http://b:6333")],
)
def test_sides_that_are_none(arguments: tuple[str, str]) -> None:
    assert "expected a folder" in lineside("sync", *arguments).line()


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs POSIX")
def test_interrupted_and_run_again(tmp_path: Path, url: str) -> None:
    location = str(tmp_path / "neighbours")
    points = make_points(1000)
    with opened(location) as box:
        box.upsert(points)
    reached = [0]

    def stalling(number: int, _: str) -> str:
        reached[0] = number
        if number > 16:
            time.sleep(0.5)
        return PASS

    with proxied(url, stalling) as proxy:
        started = subprocess.Popen(
            [*COMMAND, "sync", location, proxy.url],
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        while reached[0] < 18 and started.poll() is None:
            time.sleep(0.05)
        started.send_signal(signal.SIGINT)
        _, message = started.communicate(timeout=60)
    assert started.returncode == 130
    assert "the same command goes on from there" in message
    assert "Traceback" not in message
    with opened(url) as server:
        assert 0 < server.count() < 1000
    assert run(location, url)[0] == 0
    with opened(url) as server, opened(location) as box:
        assert set(contents(server)) == set(contents(box)) == {point.point_id for point in points}
