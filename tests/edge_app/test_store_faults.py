"""What goes wrong with a store in a folder: bundles, processes, damage, disks, kills."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edge_app.records import add_event, events
from edge_app.store import SearchFilter, give_word, open_store
from edge_app.store.edge import EdgeStore
from edge_app.store.inventory import held_at
from runtime.errors import StoreError
from tests.edge_app.points import BUNDLE, LENGTH, make_points

KILL_ROUNDS = int(os.environ.get("LINESIDE_KILL_ROUNDS", "6"))
OTHER = "fedcba9876543210" * 4
INDEX = Path("index") / BUNDLE[:16] / "current"
posix_only = pytest.mark.skipif(os.name == "nt", reason="needs POSIX")
root_only = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may do this"
)


def opened(folder: Path, **options: bool) -> EdgeStore:
    return EdgeStore(folder, bundle=BUNDLE, embedding_length=LENGTH, **options)


def filled(folder: Path, number: int = 30) -> Path:
    """A closed store with an index."""
    with opened(folder) as store:
        store.upsert(make_points(number))
        store.search(make_points(1)[0].embedding)
    return folder


def check(store: EdgeStore, number: int = 30) -> None:
    assert store.count() == number
    for point in make_points(number)[::7]:
        assert store.search(point.embedding, 1)[0].point.point_id == point.point_id


@pytest.fixture
def process() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts an interpreter on some code; it is killed at the end."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str, *arguments: object) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", _PREPARE + code, *map(str, arguments)],
                stdout=subprocess.PIPE,
                text=True,
                cwd=Path(__file__).parents[2],
            )
        )
        return started[-1]

    yield start
    for each in started:
        each.kill()
        each.wait()


_PREPARE = """
import sys, time
from pathlib import Path
from edge_app.store import give_word
from edge_app.store.edge import EdgeStore
from tests.edge_app.points import BUNDLE, LENGTH, make_points
def opened(**options):
    return EdgeStore(Path(sys.argv[1]), bundle=BUNDLE, embedding_length=LENGTH, **options)
"""


def test_bundles_share_a_location_and_never_mix(tmp_path: Path) -> None:
    first = open_store(str(tmp_path), bundle=BUNDLE, embedding_length=LENGTH)
    second = open_store(str(tmp_path), bundle=OTHER, embedding_length=8)
    with first, second:
        first.upsert(make_points(5))
        second.upsert(make_points(7, length=8, bundle=OTHER))
        assert (first.count(), second.count()) == (5, 7)
        with pytest.raises(StoreError, match=r"index the pictures again"):
            second.search(make_points(1)[0].embedding)
    assert [(held.bundle, held.embedding_length) for held in held_at(str(tmp_path))] == [
        (BUNDLE, LENGTH),
        (OTHER, 8),
    ]


def test_another_length_is_refused_and_a_bundle_that_is_not_there(tmp_path: Path) -> None:
    filled(tmp_path)
    with pytest.raises(StoreError, match=r"length 25, found 24; index into another folder"):
        open_store(str(tmp_path), bundle=BUNDLE, embedding_length=LENGTH + 1)
    with pytest.raises(StoreError, match=r"found only those of 0123456789abcdef; type: lineside"):
        open_store(str(tmp_path), bundle=OTHER, embedding_length=LENGTH, create=False)
    with pytest.raises(StoreError, match=r"found none; type: lineside index"):
        opened(tmp_path / "nothing", create=False)
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("location", ["", "  ", "ftp://host", "s3://bucket/x"])
def test_locations_that_are_none(location: str) -> None:
    with pytest.raises(StoreError, match=r"expected a folder, http://HOST:6333"):
        open_store(location, bundle=BUNDLE, embedding_length=LENGTH)


def test_memory_leaves_nothing_behind() -> None:
    store = open_store("memory:", bundle=BUNDLE, embedding_length=LENGTH)
    assert isinstance(store, EdgeStore)
    store.upsert(make_points(3))
    assert store.folder.is_dir()
    store.close()
    assert not store.folder.exists()


def test_records_of_a_newer_version_are_refused(tmp_path: Path) -> None:
    filled(tmp_path)
    with sqlite3.connect(tmp_path / "records.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match=r"found 99; type: pip install --upgrade"):
        opened(tmp_path)


def test_words_stay_on_record_with_who_and_on_which_verdict(tmp_path: Path) -> None:
    (point,) = make_points(1)
    with opened(tmp_path) as store:
        give_word(store, point, "wrong", "Ada")
        give_word(store, point, "", "Grace")
        store.delete([point.point_id])
    with opened(tmp_path) as store:
        said = store.records.words(point.point_id)
    assert [(word.who, word.what, word.verdict) for word in said] == [
        ("Ada", "wrong", point.verdict),
        ("Grace", "", point.verdict),
    ]


def test_events_stay_on_record(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        add_event(store.records.database, "drift", {"share": 0.5}, camera="left")
        add_event(store.records.database, "health", {})
    with opened(tmp_path) as store:
        found = events(store.records.database, "drift")
        assert [(event.camera, event.details) for event in found] == [("left", {"share": 0.5})]
        assert len(events(store.records.database)) == 2
        assert events(store.records.database, since="2999-01-01") == []


def test_two_processes_read_while_one_writes(
    tmp_path: Path, process: Callable[..., subprocess.Popen[str]]
) -> None:
    filled(tmp_path)
    with opened(tmp_path) as store:
        check(store)
        other = process(
            """
with opened() as store:
    store.upsert(make_points(5, seed=3))
    give_word(store, make_points(1)[0], "wrong")
    for point in make_points(30) + make_points(5, seed=3):
        assert store.search(point.embedding, 1)[0].point.point_id == point.point_id
    print("ready", flush=True)
    time.sleep(60)
""",
            tmp_path,
        )
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        # What the other process has written is found by the index of this one.
        point = make_points(5, seed=3)[2]
        assert store.search(point.embedding, 1)[0].point.point_id == point.point_id
        confirmed = store.search(point.embedding, 5, SearchFilter(confirmed_only=True))
        assert [hit.point.point_id for hit in confirmed] == [make_points(1)[0].point_id]
        with opened(tmp_path) as third:
            assert third.count() == 35


def test_search_without_the_index_is_the_same(tmp_path: Path) -> None:
    filled(tmp_path, 200)
    with opened(tmp_path) as first, opened(tmp_path) as second:
        for query in make_points(10, seed=9):
            for where in (None, SearchFilter(category="grid"), SearchFilter(since="2025-01-09")):
                one, other = (
                    {
                        hit.point.point_id: pytest.approx(hit.similarity, abs=1e-5)
                        for hit in store.search(query.embedding, 7, where)
                    }
                    for store in (first, second)
                )
                assert one == {name: value.expected for name, value in other.items()}
        assert second._index.search(query.embedding, 1, SearchFilter()) is None


def test_many_begin_the_same_store_at_once(tmp_path: Path) -> None:
    def work(seed: int) -> None:
        with opened(tmp_path / "s") as store:
            store.merge(make_points(20, seed=seed))
            store.search(make_points(1)[0].embedding)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    with opened(tmp_path / "s") as store:
        assert store.count() == 160


def _damage(file: Path, how: str) -> None:
    if how == "delete":
        file.unlink()
    elif how == "empty":
        file.write_bytes(b"")
    else:
        with file.open("r+b") as handle:
            handle.write(random.Random(0).randbytes(min(file.stat().st_size, 4096)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pattern", "how"),
    [
        ("shard/segments/*/segment.json", "empty"),
        ("shard/segments/*/vector_storage-defect/vectors/chunk_0.mmap", "delete"),
        ("shard/segments/*/vector_storage-defect/vectors/status.dat", "delete"),
        ("shard/segments/*/payload_storage/page_0.dat", "empty"),
        ("shard/segments/*/mutable_id_tracker.mappings", "garbage"),
        ("shard/edge_config.json", "garbage"),
        ("shard/wal/open-1", "garbage"),
        ("state.json", "empty"),
        ("state.json", "delete"),
    ],
)
def test_a_damaged_index_is_made_anew(tmp_path: Path, pattern: str, how: str) -> None:
    filled(tmp_path)
    (file,) = (tmp_path / INDEX).glob(pattern)
    _damage(file, how)
    for _ in range(2):
        with opened(tmp_path) as store:
            check(store)
            check(store)
            assert store._index._shard is not None


def test_a_lost_index_is_made_anew(tmp_path: Path) -> None:
    filled(tmp_path)
    shutil.rmtree(tmp_path / "index")
    with opened(tmp_path) as store:
        check(store)
        # Under the eyes of whoever has it open.
        store._index._shard.abandon()  # type: ignore[union-attr]
        check(store)
    with opened(tmp_path) as store:
        check(store)


def test_an_older_copy_of_the_index_is_caught_up_or_made_anew(tmp_path: Path) -> None:
    filled(tmp_path)
    shutil.copytree(tmp_path / "index", tmp_path / "copy")
    points = make_points(30)
    with opened(tmp_path) as store:
        store.upsert(make_points(4, seed=8))
        store.delete([points[0].point_id])
        store.search(points[0].embedding)
    shutil.rmtree(tmp_path / "index")
    (tmp_path / "copy").rename(tmp_path / "index")
    with opened(tmp_path) as store:
        store.search(points[0].embedding)
        found = store.search(points[0].embedding, 40)
        assert len(found) == 33
        assert points[0].point_id not in {hit.point.point_id for hit in found}


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_after_a_power_cut_the_index_is_not_trusted(
    tmp_path: Path, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the changed pages of the engine's files a share has reached the disk."""
    filled(tmp_path, 60)
    shutil.copytree(tmp_path / INDEX, tmp_path / "flushed")
    new = make_points(40, seed=5)
    store = opened(tmp_path)
    store.upsert(new)
    give_word(store, new[0], "wrong")
    store.search(new[0].embedding)
    chance = random.Random(1)
    for file in (tmp_path / INDEX / "shard").rglob("*"):
        old = tmp_path / "flushed" / file.relative_to(tmp_path / INDEX)
        if file.is_file() and old.is_file() and chance.random() >= share:
            shutil.copyfile(old, file)
    # As in a process that starts after the machine has.
    monkeypatch.setattr("edge_app.store.shard._boot", lambda: "another run")
    store._index._lock.release()
    with opened(tmp_path) as again:
        assert again.count() == 100
        for point in (*new, *make_points(60)):
            again.search(point.embedding, 1)
            assert again.search(point.embedding, 1)[0].point.point_id == point.point_id
        only = SearchFilter(confirmed_only=True)
        assert [hit.point.point_id for hit in again.search(new[0].embedding, 5, only)] == [
            new[0].point_id
        ]


def test_damaged_records_are_set_aside_and_the_box_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filled(tmp_path)
    _damage(tmp_path / "records.db", "garbage")
    with opened(tmp_path) as store:
        assert store.count() == 0
        assert store.search(make_points(1)[0].embedding) == []
        store.upsert(make_points(4))
        check(store, 4)
    (aside,) = tmp_path.glob("records.db.corrupt-*")
    assert aside.name in caplog.text
    assert "lineside index" in caplog.text
    with opened(tmp_path) as store:
        check(store, 4)


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="expected a folder that can be written"):
        opened(tmp_path / "file")


@pytest.mark.skipif(
    not Path("/proc/self").is_dir(), reason="needs a file system that even root cannot write"
)
def test_folder_that_nobody_can_write() -> None:
    with pytest.raises(
        StoreError, match=r"/proc/neighbours.*expected a folder that can be written.*--store"
    ):
        opened(Path("/proc/neighbours"))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, 400 MiB."""
    target = tmp_path / "disk"
    target.mkdir()
    done = subprocess.run(
        [shutil.which("mount") or "mount", "-t", "tmpfs", "-o", "size=400m", "none", str(target)],
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip("this machine does not allow mounting")
    yield target
    subprocess.run(["umount", "-l", str(target)], check=True)


@posix_only
@root_only
@pytest.mark.parametrize("killed", [False, True])
def test_a_read_only_disk_can_be_read(
    disk: Path, killed: bool, process: Callable[..., subprocess.Popen[str]]
) -> None:
    if killed:
        writer = process(
            "store = opened(); store.upsert(make_points(30)); print(flush=True); time.sleep(60)",
            disk,
        )
        assert writer.stdout is not None
        writer.stdout.readline()
        writer.kill()
        writer.wait()
    else:
        filled(disk)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with opened(disk) as store:
        check(store)
        with pytest.raises(
            StoreError, match=r"expected a folder that can be written.*found.*readonly.*--store"
        ):
            give_word(store, make_points(1)[0], "wrong")
        assert store.optimize() is False
    with pytest.raises(StoreError, match="expected a folder that can be written"):
        open_store(str(disk), bundle=OTHER, embedding_length=LENGTH)


@posix_only
@root_only
def test_full_disk_is_refused_and_nothing_is_lost(disk: Path) -> None:
    with opened(disk) as store:
        store.upsert(make_points(20))
        with (disk / "ballast").open("wb") as ballast:
            ballast.write(b"x" * (280 << 20))
        with pytest.raises(
            StoreError, match=r"at least 128 MiB free on the disk, found \d+ MiB; free some space"
        ):
            store.upsert(make_points(20, seed=1))
        check(store, 20)
    with EdgeStore(disk, bundle=BUNDLE, embedding_length=LENGTH, reserve_mib=0) as store:
        with (disk / "ballast2").open("wb") as ballast, pytest.raises(OSError, match="space"):
            while True:
                ballast.write(b"x" * (64 << 10))
                ballast.flush()
        # Not one byte: SQLite says so itself, and the engine is not asked.
        with pytest.raises(StoreError, match=r"expected a folder that can be written.*free some"):
            for seed in range(1, 100):
                store.upsert(make_points(200, seed=seed))
        number = store.count()
        (disk / "ballast").unlink()
        store.upsert(make_points(20, seed=200))
        assert store.count() == number + 20
        point = make_points(20, seed=200)[3]
        assert store.search(point.embedding, 1)[0].point.point_id == point.point_id


@pytest.mark.slow
@posix_only
def test_killed_while_writing_every_acknowledged_point_is_there(
    tmp_path: Path, process: Callable[..., subprocess.Popen[str]]
) -> None:
    """LINESIDE_KILL_ROUNDS=100 for the long version."""
    acknowledged: list[list[str]] = []
    for round_number in range(KILL_ROUNDS):
        writer = process(
            """
with opened() as store:
    for number in range(1000):
        points = make_points(3, seed=int(sys.argv[2]) * 1000 + number)
        store.upsert(points)
        give_word(store, points[0], "wrong")
        print(*(point.point_id for point in points), flush=True)
        store.search(points[0].embedding)
""",
            tmp_path,
            round_number,
        )
        assert writer.stdout is not None
        first = writer.stdout.readline()
        time.sleep(random.Random(round_number).uniform(0.0, 0.4))
        writer.send_signal(signal.SIGKILL)
        lines = [first, *writer.stdout.readlines()]
        writer.wait()
        # The last line may be cut in the middle.
        acknowledged += [line.split() for line in lines if line.endswith("\n")]
        with opened(tmp_path) as store:
            for identifiers in acknowledged:
                found = {part.point_id: part for part in store.fetch(identifiers)}
                assert len(found) == 3
                assert found[identifiers[0]].confirmed == "wrong"
            for point in found.values():
                store.search(point.embedding, 1)
                assert store.search(point.embedding, 1)[0].similarity > 0.999
    assert len(acknowledged) >= KILL_ROUNDS
