"""A station judges what its sources bring: once each, over restarts, whatever goes away."""

from __future__ import annotations

import json
import logging
import os
import shutil
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_app.live import feeding
from edge_app.live.keeping import Pictures, Which
from edge_app.live.settings import Source
from edge_app.live.underway import Underway
from edge_app.store import SearchFilter
from runtime import console
from runtime.errors import StoreError
from tests.edge_app.live.fed import Fed, fed, until
from tests.edge_app.live.served import place_at, station_at
from tests.edge_app.tiny_bundle import write_part, write_tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tile-tiny")


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second chance of a file that cannot be read comes soon."""
    monkeypatch.setattr(feeding, "_SECOND_CHANCE_S", 0.3)


def folder_of(path: Path, *kinds: str) -> Source:
    path.mkdir(exist_ok=True)
    for seed, kind in enumerate(kinds):
        write_part(path / f"{seed}.png", seed, kind)
    return Source("left", str(path), "tile-tiny")


def names(found: Fed) -> list[str]:
    return [Path(one.name).name for one in found.arrived()]


def test_each_part_is_judged_once_and_recorded_once_over_a_restart(
    bundle: Path, tmp_path: Path
) -> None:
    source, store = folder_of(tmp_path / "in", "good", "dark"), tmp_path / "store"
    with fed(bundle, store, source) as station:
        until(lambda: len(station.arrived()) == 2)
        assert [one.verdict for one in station.arrived()] == ["good", "anomalous"]
        assert all(one.recorded for one in station.arrived())
        (state,) = station.board.states()
        assert (state.state, state.in_work) == ("running", 0)
    # Two that came while nobody watched; one of them the first once more under another name.
    write_part(tmp_path / "in" / "8.png", 8, "bright")
    shutil.copy(tmp_path / "in" / "0.png", tmp_path / "in" / "9.png")
    with fed(bundle, store, source) as station:
        until(lambda: len(station.arrived()) == 4)
        assert names(station) == ["0.png", "1.png", "8.png", "9.png"]
        (line,) = station.station.lines.values()
        assert line.store.count() == 3
        stored = line.store.recent(SearchFilter(camera="left"))
        assert {one.verdict for one in stored} == {"good", "anomalous"}
        # Written over: another part.
        write_part(tmp_path / "in" / "0.png", 50, "dark")
        until(lambda: len(station.arrived()) == 5)
        assert station.arrived()[-1].verdict == "anomalous"


def test_a_folder_that_is_not_there_is_said_and_watched_when_it_is(
    bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "lineside")
    late = Source("late", str(tmp_path / "late"), "tile-tiny")
    there = folder_of(tmp_path / "in", "good")
    with fed(bundle, tmp_path / "store", late, there) as station:

        def state() -> str:
            return station.board.states()[0].state

        # The other goes on meanwhile.
        until(lambda: len(station.arrived()) == 1)
        until(lambda: state() == "away")
        assert "found nothing there" in station.board.states()[0].trouble
        write_part(tmp_path / "late" / "0.png", 3, "dark")
        until(lambda: len(station.arrived()) == 2)
        assert state() == "running"
        (tmp_path / "late").rename(tmp_path / "gone")
        until(lambda: state() == "away")
        (tmp_path / "gone").rename(tmp_path / "late")
        until(lambda: state() == "running")
    said = caplog.text
    assert said.count("trying again until it is there") == 1
    assert f"late: {tmp_path / 'late'} is there" in said
    assert f"{tmp_path / 'late'}: can be read again" in said


def test_a_picture_that_cannot_be_read_is_flagged_and_the_next_is_judged(
    bundle: Path, tmp_path: Path
) -> None:
    source = folder_of(tmp_path / "in")
    (tmp_path / "in" / "0.png").write_bytes(b"no picture")
    write_part(tmp_path / "in" / "1.png", 1, "good")
    with fed(bundle, tmp_path / "store", source) as station:
        until(lambda: len(station.arrived()) == 2)
        first, second = station.arrived()
        assert (first.verdict, first.id, second.verdict) == ("cannot_judge", "", "good")
        assert "expected" in first.reason
        assert [one.number for one in station.board.journal.waiting()] == [first.number]


def test_a_picture_that_is_written_slowly_is_judged_once_when_it_is_whole(
    bundle: Path, tmp_path: Path
) -> None:
    source = folder_of(tmp_path / "in")
    write_part(tmp_path / "whole.png", 1, "dark")
    whole = (tmp_path / "whole.png").read_bytes()
    with fed(bundle, tmp_path / "store", source) as station:
        with (tmp_path / "in" / "0.png").open("wb") as file:
            file.write(whole[:2000])
            file.flush()
            # It looks finished from one look to the next.
            until(lambda: station.board.states()[0].in_work)
            file.write(whole[2000:])
        until(station.arrived)
        (part,) = station.arrived()
        assert (part.verdict, part.size) == ("anomalous", len(whole))
    with fed(bundle, tmp_path / "store", source) as station:
        write_part(tmp_path / "in" / "1.png", 2, "good")
        until(lambda: len(station.arrived()) == 2)
        assert names(station) == ["0.png", "1.png"]


def video_of(path: Path, *levels: int) -> Source:
    """A recording whose frames have a corner of these levels on mid grey."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 64))
    for level in levels:
        frame = np.full((64, 64, 3), 128, np.uint8)
        frame[:16, :16] = level
        writer.write(frame)
    writer.release()
    return Source("video", str(path), "tile-tiny")


def test_every_frame_of_a_video_is_judged_once(bundle: Path, tmp_path: Path) -> None:
    # The same part twice is one record, and two arrivals.
    source, store = video_of(tmp_path / "parts.avi", 128, 0, 128), tmp_path / "store"
    for _ in range(2):
        with fed(bundle, store, source) as station:
            until(lambda: station.board.states()[0].state == "ended")
            until(lambda: len(station.arrived()) == 3)
            verdicts = [one.verdict for one in station.arrived()]
            assert verdicts == ["good", "anomalous", "good"]
            assert [one.name.rpartition("#")[2] for one in station.arrived()] == ["0", "1", "2"]
            (line,) = station.station.lines.values()
            assert line.store.count() == 2


def test_every_line_about_a_part_names_it(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = folder_of(tmp_path / "in", "good", "dark")
    (tmp_path / "in" / "2.png").write_bytes(b"no picture")
    with (
        console.shown(logging.DEBUG, "json"),
        fed(bundle, tmp_path / "store", source) as station,
    ):
        until(lambda: len(station.arrived()) == 3)
        recorded = station.arrived()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    told = [line for line in lines if "verdict" in line]
    assert [(line["id"], line["verdict"]) for line in told] == [
        (one.id, one.verdict) for one in recorded
    ]
    (unread,) = [line for line in lines if line["level"] == "warning"]
    parts = [str(tmp_path / "in" / f"{number}.png") for number in range(3)]
    assert [line["part"] for line in [*told, unread]] == [*parts, parts[2]]
    assert {line["source"] for line in [*told, unread]} == {"left"}


def test_what_one_source_is_slow_with_no_other_waits_for(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeding, "_SECOND_CHANCE_S", 60)
    video, left = video_of(tmp_path / "parts.avi", 0), folder_of(tmp_path / "left")
    right = Source("right", str(tmp_path / "right"), "tile-tiny")
    (tmp_path / "right").mkdir()
    (tmp_path / "right" / "0.png").write_bytes(b"no picture")
    with fed(bundle, tmp_path / "store", video, right, left) as station:
        states = station.board.states
        until(lambda: [one.state for one in states()] == ["ended", "running", "running"])
        until(lambda: states()[1].in_work == 1)
        write_part(tmp_path / "left" / "0.png", 1, "dark")
        until(lambda: len(station.arrived()) == 2)
        assert [one.source for one in station.arrived()] == ["video", "left"]
        assert states()[1].in_work == 1


@pytest.mark.parametrize(("which", "number"), [("none", 0), ("flagged", 2), ("all", 3)])
def test_frames_of_flagged_parts_are_kept_as_they_were(
    bundle: Path, tmp_path: Path, which: Which, number: int
) -> None:
    source, store = video_of(tmp_path / "parts.avi", 128, 0, 255), tmp_path / "store"
    kept = Pictures(store, which, most_mib=10)
    with fed(bundle, store, source, kept=kept) as station:
        until(lambda: len(station.arrived()) == 3)
        (line,) = station.station.lines.values()
        points = line.store.fetch([one.id for one in station.arrived()])
        found = [content for point in points if (content := kept.read(point))]
        # As the camera compressed them.
        assert len(found) == len(list((store / "pictures").glob("*/*.jpg"))) == number
        # Damaged, or another's: it is not the part's picture any more.
        for path in (store / "pictures").glob("*/*.jpg"):
            path.write_bytes(b"no picture")
        assert not any(kept.read(point) for point in points)


def test_the_oldest_frames_make_room(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    kept = Pictures(tmp_path, "all", most_mib=1)
    for number in range(12):
        # Some 120 kB each.
        kept.keep(f"{number:02d}-part", noise.integers(0, 256, (200, 200, 3), dtype=np.uint8))
        os.utime(tmp_path / "pictures" / f"{number:02d}" / f"{number:02d}-part.png", ns=(0, number))
    left = sorted(path.stem for path in (tmp_path / "pictures").glob("*/*.png"))
    assert left[-1] == "11-part"
    assert left[0] > "02-part"
    assert sum(one.stat().st_size for one in tmp_path.rglob("*.png")) <= 1 << 20


def test_a_store_that_cannot_be_written_keeps_nobody_from_the_verdict(
    bundle: Path, tmp_path: Path
) -> None:
    source, store = folder_of(tmp_path / "in"), tmp_path / "store"
    with fed(bundle, store, source) as station:
        (line,) = station.station.lines.values()
        # More than any disk has.
        line.store._reserve_mib = 1 << 40  # type: ignore[attr-defined]
        write_part(tmp_path / "in" / "0.png", 1, "dark")
        until(lambda: "not recorded" in station.board.states()[0].warning)
        newest = station.board.states()[0].newest
        assert newest is not None
        assert newest.verdict == "anomalous"
        assert station.arrived() == []
    # It comes again.
    with fed(bundle, store, source) as station:
        until(lambda: len(station.arrived()) == 1)


def test_old_frames_and_files_that_have_gone_are_forgotten(bundle: Path, tmp_path: Path) -> None:
    source = folder_of(tmp_path / "in", "good", "dark")
    with fed(bundle, tmp_path / "store", source) as station:
        until(lambda: len(station.arrived()) == 2)
        (tmp_path / "in" / "0.png").unlink()
        assert station.board.journal.forget(days=1) == 0
        assert station.board.journal.forget(days=0) == 1
        assert names(station) == ["1.png"]


def ended_while(path: Path, *parts: str) -> list[bool]:
    """What a process that ends in the middle of parts leaves, and which of them it judged."""
    underway = Underway(path)
    with ExitStack() as stack:
        judged = [stack.enter_context(underway.judging(name, (9, 9))) for name in parts]
        left = path.read_bytes()
    path.write_bytes(left)
    return judged


def test_a_part_that_processes_have_ended_with_twice_is_left_aside(tmp_path: Path) -> None:
    path = tmp_path / "underway.bin"
    assert ended_while(path, "poison", "other") == [True, True]
    # The second time one after the other, so that it is known whose end it was.
    with Underway(path).judging("other", (9, 9)) as judged:
        assert judged
    assert ended_while(path, "poison") == [True]
    assert ended_while(path, "poison", "other") == [False, True]
    with Underway(path).judging("poison", (9, 10)) as judged:
        assert judged, "written over since"


def test_one_whose_verdict_came_may_come_again(tmp_path: Path) -> None:
    path = tmp_path / "underway.bin"
    for _ in range(3):
        with Underway(path).judging("part", (9, 9)) as judged:
            assert judged
    assert not path.read_bytes().strip(b"\0")


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 9000, b"[1]", b'["a", "b", "c", "d"]', b"7"])
def test_a_damaged_list_of_what_is_under_way_hinders_nothing(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "underway.bin"
    path.write_bytes(content)
    assert ended_while(path, "part") == [True]


def test_where_that_cannot_be_written_parts_are_judged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Underway(tmp_path / "missing" / "underway.bin").judging("part", (9, 9)) as judged:
        assert judged
    assert "cannot be written" in caplog.text


def test_a_second_station_with_the_same_records_is_refused(tmp_path: Path) -> None:
    """It would judge each part once more, and tell the line twice."""
    place = place_at(tmp_path)
    with station_at(place):
        again = pytest.raises(StoreError, match="no other station keeps its records in")
        with again, station_at(place):
            pass
    with station_at(place):
        pass
