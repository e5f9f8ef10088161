"""What goes wrong with a store in a folder: other bundles, other processes, damage, disks, power."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_app.store import give_word, open_store
from edge_app.store.edge import EdgeStore
from runtime.errors import StoreError
from tests.edge_app.points import BUNDLE, LENGTH, make_points

KILL_ROUNDS = int(os.environ.get("LINESIDE_KILL_ROUNDS", "6"))
OTHER = "fedcba9876543210" * 4
posix_only = pytest.mark.skipif(os.name == "nt", reason="needs POSIX")
root_only = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may do this"
)


def filled(folder: Path, number: int = 30) -> Path:
    """A closed store; returns its own folder."""
    with EdgeStore(folder / BUNDLE[:16], bundle=BUNDLE, embedding_length=LENGTH) as store:
        store.upsert(make_points(number))
    return folder / BUNDLE[:16]


def reopened(folder: Path) -> EdgeStore:
    return EdgeStore(folder, bundle=BUNDLE, embedding_length=LENGTH)


def test_bundles_share_a_location_and_never_mix(tmp_path: Path) -> None:
    first = open_store(str(tmp_path), bundle=BUNDLE, embedding_length=LENGTH)
    second = open_store(str(tmp_path), bundle=OTHER, embedding_length=8)
    with first, second:
        first.upsert(make_points(5))
        second.upsert(make_points(7, length=8, bundle=OTHER))
        assert (first.count(), second.count()) == (5, 7)
        with pytest.raises(StoreError, match=r"index the pictures again"):
            second.search(make_points(1)[0].embedding)
    recorded = json.loads((tmp_path / BUNDLE[:16] / "store.json").read_text())
    assert recorded == {"schema_version": 1, "bundle": BUNDLE, "embedding_length": LENGTH}


def test_another_bundle_or_length_is_refused_with_advice(tmp_path: Path) -> None:
    folder = filled(tmp_path)
    with pytest.raises(
        StoreError, match=r"expected parts of bundle fedc.*found those of 0123.*another folder"
    ):
        open_store(str(folder), bundle=OTHER, embedding_length=LENGTH)
    with pytest.raises(StoreError, match=r"length 25, found 24; index into another folder"):
        open_store(str(tmp_path), bundle=BUNDLE, embedding_length=LENGTH + 1)
    with open_store(str(folder), bundle=BUNDLE, embedding_length=LENGTH) as store:
        assert store.count() == 30


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected JSON"),
        ("[]", "JSON object"),
        ('{"schema_version": 2}', "pip install --upgrade"),
        ('{"schema_version": "x"}', "index again into another folder"),
    ],
)
def test_damaged_or_newer_store_file(tmp_path: Path, text: str, message: str) -> None:
    folder = filled(tmp_path)
    (folder / "store.json").write_text(text)
    with pytest.raises(StoreError, match=message):
        reopened(folder)


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
    assert not store.folder.parent.exists()


def test_reopening_finds_everything(tmp_path: Path) -> None:
    folder = filled(tmp_path)
    for _ in range(2):
        with reopened(folder) as store:
            assert store.count() == 30
            point = make_points(30)[7]
            assert store.search(point.embedding, 1)[0].point.point_id == point.point_id


@posix_only
def test_second_process_learns_who_holds_the_store(tmp_path: Path) -> None:
    folder = filled(tmp_path)
    code = (
        "import sys, time; from edge_app.store import open_store\n"
        f"store = open_store({str(tmp_path)!r}, bundle={BUNDLE!r}, embedding_length={LENGTH})\n"
        "print('open', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline().strip() == "open"
        with pytest.raises(StoreError, match=rf"held by process {holder.pid}.*stop that process"):
            reopened(folder)
    finally:
        holder.kill()
        holder.wait()
    with reopened(folder) as store:
        assert store.count() == 30
        with pytest.raises(StoreError, match="held by this very process"):
            reopened(folder)
    with reopened(folder):
        pass


def _damage(file: Path, how: str) -> None:
    if how == "delete":
        file.unlink()
    elif how == "empty":
        file.write_bytes(b"")
    else:
        with file.open("r+b") as handle:
            handle.write(random.Random(0).randbytes(min(file.stat().st_size, 4096)))


@pytest.mark.parametrize(
    ("pattern", "how"),
    [
        pytest.param("segments/*/segment.json", "delete", marks=pytest.mark.slow),
        ("segments/*/segment.json", "empty"),
        pytest.param(
            "segments/*/vector_storage-defect/vectors/chunk_0.mmap",
            "delete",
            marks=pytest.mark.slow,
        ),
        ("segments/*/vector_storage-defect/vectors/status.dat", "delete"),
        pytest.param("segments/*/payload_storage/page_0.dat", "empty", marks=pytest.mark.slow),
        ("segments/*/mutable_id_tracker.mappings", "garbage"),
        pytest.param("edge_config.json", "garbage", marks=pytest.mark.slow),
    ],
)
def test_damaged_shard_is_set_aside_and_the_box_goes_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], pattern: str, how: str
) -> None:
    folder = filled(tmp_path)
    (file,) = (folder / "shard").glob(pattern)
    _damage(file, how)
    # The engine folds its journals into the tables when it tries to load; all else must stay.
    kept = {
        path.relative_to(folder / "shard")
        for path in (folder / "shard").rglob("*")
        if path.name != "tracker_journal.dat"
    }
    with reopened(folder) as store:
        assert store.count() == 0
        store.upsert(make_points(4))
        assert store.count() == 4
    (aside,) = folder.glob("shard.corrupt-*")
    assert kept <= {path.relative_to(aside) for path in aside.rglob("*")}
    message = capfd.readouterr().err
    assert aside.name in message
    assert "lineside index" in message
    assert "Traceback" not in message
    with reopened(folder) as store:
        assert store.count() == 4


@pytest.mark.parametrize("file", ["open-1", "first-index"])
@pytest.mark.parametrize("how", ["garbage", "empty"])
def test_damaged_log_costs_at_most_the_newest_writes(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], file: str, how: str
) -> None:
    folder = filled(tmp_path)
    _damage(folder / "shard" / "wal" / file, how)
    with reopened(folder) as store:
        assert store.count() == 30
        store.upsert(make_points(5, seed=3))
    assert "the newest may be missing" in capfd.readouterr().err
    assert not list(folder.glob("shard.corrupt-*"))
    with reopened(folder) as store:
        assert store.count() == 35


def test_a_creation_that_was_cut_off_is_begun_again(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    (folder / "shard.new" / "segments").mkdir(parents=True)
    with reopened(folder) as store:
        assert store.count() == 0
    assert not (folder / "shard.new").exists()


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="expected a folder that can be written"):
        open_store(str(tmp_path / "file"), bundle=BUNDLE, embedding_length=LENGTH)


@pytest.mark.skipif(
    not Path("/proc/self").is_dir(), reason="needs a file system that even root cannot write"
)
def test_folder_that_nobody_can_write() -> None:
    with pytest.raises(
        StoreError, match=r"/proc/neighbours.*expected a folder that can be written.*--store"
    ):
        open_store("/proc/neighbours", bundle=BUNDLE, embedding_length=LENGTH)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, 400 MiB."""
    mount = shutil.which("mount")
    target = tmp_path / "disk"
    target.mkdir()
    done = subprocess.run(
        [mount or "mount", "-t", "tmpfs", "-o", "size=400m", "none", str(target)],
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip("this machine does not allow mounting")
    yield target
    subprocess.run(["umount", "-l", str(target)], check=True)


@posix_only
@root_only
def test_disk_that_becomes_read_only(disk: Path) -> None:
    filled(disk)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(StoreError, match=r"Read-only file system.*--store"):
        open_store(str(disk), bundle=BUNDLE, embedding_length=LENGTH)


@posix_only
@root_only
def test_full_disk_is_refused_before_the_engine_meets_it(disk: Path) -> None:
    with open_store(str(disk), bundle=BUNDLE, embedding_length=LENGTH) as store:
        store.upsert(make_points(20))
        with (disk / "ballast").open("wb") as ballast:
            ballast.write(b"x" * (280 << 20))
        with pytest.raises(
            StoreError, match=r"at least 128 MiB free on the disk, found \d+ MiB; free some space"
        ):
            store.upsert(make_points(20, seed=1))
        assert store.count() == 20
        assert len(store.search(make_points(1)[0].embedding)) == 5
    # What is there can still be read by whoever starts now.
    with open_store(str(disk), bundle=BUNDLE, embedding_length=LENGTH) as store:
        assert len(store.search(make_points(1)[0].embedding)) == 5
        with pytest.raises(StoreError, match="at least 128 MiB free"):
            store.upsert(make_points(20, seed=1))
        (disk / "ballast").unlink()
        store.upsert(make_points(20, seed=1))
        assert store.count() == 40


_WRITER = """
import sys
from pathlib import Path
from edge_app.store import give_word
from edge_app.store.edge import EdgeStore
from tests.edge_app.points import BUNDLE, LENGTH, make_points
with EdgeStore(Path(sys.argv[1]), bundle=BUNDLE, embedding_length=LENGTH) as store:
    for number in range(1000):
        points = make_points(3, seed=int(sys.argv[2]) * 1000 + number)
        store.upsert(points)
        give_word(store, points[0], "wrong")
        print(*(point.point_id for point in points), flush=True)
"""


@pytest.mark.slow
@posix_only
def test_killed_while_writing_every_acknowledged_point_is_there(tmp_path: Path) -> None:
    """LINESIDE_KILL_ROUNDS=100 for the long version."""
    folder = tmp_path / "s"
    acknowledged: list[list[str]] = []
    for round_number in range(KILL_ROUNDS):
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(folder), str(round_number)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert writer.stdout is not None
        first = writer.stdout.readline()
        time.sleep(random.Random(round_number).uniform(0.0, 0.4))
        writer.send_signal(signal.SIGKILL)
        lines = [first, *writer.stdout.readlines()]
        writer.wait()
        # The last line may be cut in the middle.
        acknowledged += [line.split() for line in lines if line.endswith("\n")]
        with reopened(folder) as store:
            for identifiers in acknowledged:
                found = [store.get(identifier) for identifier in identifiers]
                assert None not in found
                assert found[0] is not None
                assert found[0].confirmed == "wrong"
        assert not list(folder.glob("*.corrupt-*"))
    assert len(acknowledged) >= KILL_ROUNDS


_INDEXER = """
import sys
from pathlib import Path
from edge_app.store import edge_index
from edge_app.store.edge import EdgeStore
from tests.edge_app.points import BUNDLE, LENGTH
edge_index.QUANTIZE_FROM = 1
with EdgeStore(Path(sys.argv[1]), bundle=BUNDLE, embedding_length=LENGTH) as store:
    print("begins", flush=True)
    store.optimize()
"""


@pytest.mark.slow
@posix_only
@pytest.mark.parametrize("wait_s", [0.0, 0.05, 0.2, 0.4])
def test_killed_while_building_the_index_nothing_is_lost(tmp_path: Path, wait_s: float) -> None:
    folder = filled(tmp_path, 8000)
    indexer = subprocess.Popen(
        [sys.executable, "-c", _INDEXER, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert indexer.stdout is not None
    indexer.stdout.readline()
    time.sleep(wait_s)
    indexer.send_signal(signal.SIGKILL)
    indexer.wait()
    with reopened(folder) as store:
        assert store.count() == 8000
        store.optimize()
        for point in make_points(8000)[::500]:
            assert store.search(point.embedding, 1)[0].point.point_id == point.point_id
    assert not list(folder.glob("*.corrupt-*"))


def _after_power_cut(flushed: Path, now: Path, target: Path, share: float, seed: int) -> None:
    """The folder as a disk may hold it: the synced log whole, of everything else a share of the changed 4 KiB pages."""
    shutil.copytree(flushed, target)
    shutil.rmtree(target / "wal")
    shutil.copytree(now / "wal", target / "wal")
    chance = random.Random(seed)
    for file in now.rglob("*"):
        old = target / file.relative_to(now)
        if not file.is_file() or "wal" in file.parts:
            continue
        if not old.exists():
            if chance.random() < share:
                shutil.copyfile(file, old)
            continue
        new, torn = file.read_bytes(), bytearray(old.read_bytes())
        torn.extend(bytes(max(0, len(new) - len(torn))))
        for start in range(0, len(new), 4096):
            page = new[start : start + 4096]
            if torn[start : start + 4096] != page and chance.random() < share:
                torn[start : start + 4096] = page
        old.write_bytes(torn)


@pytest.mark.parametrize(
    ("share", "seed"),
    [
        (0.5, 1),
        *(
            pytest.param(share, seed, marks=pytest.mark.slow)
            for share, seed in [(0.0, 0), (1.0, 0), (0.5, 2), (0.1, 3)]
        ),
    ],
)
def test_power_cut_loses_no_acknowledged_write(tmp_path: Path, share: float, seed: int) -> None:
    folder = filled(tmp_path, 60)
    shutil.copytree(folder / "shard", tmp_path / "flushed")
    new = make_points(40, seed=5)
    with reopened(folder) as store:
        store.upsert(new[:20])
        for point in new[20:]:
            store.upsert([point])
        give_word(store, new[0], "wrong")
        shutil.copytree(folder / "shard", tmp_path / "now")
    shutil.rmtree(folder / "shard")
    _after_power_cut(tmp_path / "flushed", tmp_path / "now", folder / "shard", share, seed)
    with reopened(folder) as store:
        assert store.count() == 100
        assert not list(folder.glob("*.corrupt-*"))
        for point in new:
            found = store.get(point.point_id)
            assert found is not None
            assert found.path == point.path
            assert found.confirmed == ("wrong" if point is new[0] else "")
            assert store.search(point.embedding, 1)[0].point.point_id == point.point_id


def test_a_process_that_may_not_start_threads_does_not_cost_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the engine says under ``ulimit -u``, which root, who may run the tests, is not held to."""
    folder = filled(tmp_path)

    def refuse(*_: object) -> None:
        raise RuntimeError(
            "failed to build edge-search thread pool: Resource temporarily unavailable (os error "
            "11)"
        )

    with monkeypatch.context() as limited:
        limited.setattr(edge_shard, "_load", refuse)
        with pytest.raises(StoreError, match="raise the limit of processes and threads"):
            reopened(folder)
    with reopened(folder) as store:
        assert store.count() == 30
