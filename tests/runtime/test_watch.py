"""Watching: a folder that fills up, a video, and sources that are not there."""

from __future__ import annotations

import errno
import json
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime.commands import watch as watch_command
from runtime.errors import ImageError, SourceError
from runtime.images.preprocess import decoded
from runtime.inspector import Inspector
from runtime.prediction import Prediction
from runtime.sources import arrivals
from runtime.sources import watching as sources_watching
from tests.cli import COMMAND, Done, lineside
from tests.runtime.tiny import edit_thresholds, random_image, write_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle")


def write_picture(path: Path, seed: int = 0) -> None:
    cv2.imwrite(str(path), random_image(seed)[:, :, ::-1])


def watch(bundle: Path, *sources: Path | str) -> subprocess.Popen[str]:
    command = [*COMMAND, "watch", str(bundle), *map(str, sources), "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_pictures_that_appear_are_inspected_once_each_and_a_stop_sums_up(
    bundle: Path, tmp_path: Path, stop: signal.Signals
) -> None:
    folder = tmp_path / "incoming"
    folder.mkdir()
    write_picture(folder / "0.png")
    process = watch(bundle, folder)
    assert process.stdout is not None
    first = json.loads(process.stdout.readline())
    assert first["path"].endswith("0.png")
    (folder / "bad.png").write_bytes(b"no picture")
    write_picture(tmp_path / "1.png", 1)
    shutil.move(tmp_path / "1.png", folder / "1.png")
    second = json.loads(process.stdout.readline())
    assert second["path"].endswith("1.png")
    assert {"verdict", "pred_score", "threshold", "latency_ms"} <= second.keys()
    time.sleep(1.0)
    process.send_signal(stop)
    out, err = process.communicate(timeout=30)
    assert out == ""
    assert process.returncode == 0, err
    assert "1 unreadable" in err
    assert "Traceback" not in err


def test_an_edited_threshold_counts_at_the_next_part(bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "incoming"
    folder.mkdir()
    write_picture(folder / "0.png")
    process = watch(bundle, folder)
    assert process.stdout is not None
    before = json.loads(process.stdout.readline())
    edit_thresholds(bundle, image_threshold=before["pred_score"] * 3)
    write_picture(folder / "1.png")
    after = json.loads(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert after["threshold"] == pytest.approx(before["pred_score"] * 3)
    assert after["verdict"] == "good"


def test_a_file_that_still_grows_is_left_alone(tmp_path: Path) -> None:
    write_picture(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()
    folder = tmp_path / "incoming"
    folder.mkdir()
    stop = threading.Event()
    found = []
    thread = threading.Thread(target=lambda: found.extend(arrivals(str(folder), stop)))
    thread.start()
    with (folder / "slow.png").open("wb") as file:
        for start in range(0, len(content), max(1, len(content) // 8)):
            file.write(content[start : start + max(1, len(content) // 8)])
            file.flush()
            time.sleep(0.1)
            assert found == []
    time.sleep(1.0)
    stop.set()
    thread.join()
    assert [Path(arrival.name).name for arrival in found] == ["slow.png"]


def test_every_frame_of_a_video_in_order(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "line.avi"
    write_video(path, range(0, 250, 25))
    found = list(arrivals(str(path), threading.Event()))
    assert [arrival.name.rsplit("#")[-1] for arrival in found] == [
        str(index) for index in range(10)
    ]
    levels = [float(np.mean(decoded(arrival.source))) for arrival in found]
    assert levels == sorted(levels)
    assert len(lineside("watch", bundle, path).stdout.splitlines()) == 10


def write_video(path: Path, levels: range) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 64))
    for level in levels:
        writer.write(np.full((64, 64, 3), level, np.uint8))
    writer.release()
    return path


def test_several_sources_on_one_model(bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "incoming"
    folder.mkdir()
    write_picture(folder / "0.png")
    videos = [
        write_video(tmp_path / f"{name}.avi", range(0, 250, 25)) for name in ("left", "right")
    ]
    process = watch(bundle, folder, *videos)
    assert process.stdout is not None
    rows = [json.loads(process.stdout.readline()) for _ in range(21)]
    write_picture(folder / "1.png", 1)
    late = json.loads(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    for video in videos:
        own = [row["path"] for row in rows if row["path"].startswith(str(video))]
        assert own == [f"{video}#{index}" for index in range(10)]
    assert [row["path"] for row in rows if row["path"].endswith("0.png")] == [str(folder / "0.png")]
    assert late["path"] == str(folder / "1.png")
    with Inspector(bundle) as inspector:
        for video in videos:
            for part in arrivals(str(video), threading.Event()):
                (row,) = [row for row in rows if row["path"] == part.name]
                assert row["pred_score"] == pytest.approx(
                    inspector.inspect(part.source).pred_score, rel=1e-5
                )


def test_one_source_that_is_not_there_is_named(bundle: Path, tmp_path: Path) -> None:
    video = write_video(tmp_path / "left.avi", range(3))
    done = lineside("watch", bundle, video, tmp_path / "nowhere")
    assert f"{tmp_path / 'nowhere'}: expected a folder" in done.line()


@pytest.mark.parametrize(
    ("sources", "once", "engine", "streams"),
    [
        (["0"], False, {}, 1),
        (["rtsp://a", "rtsp://b"], False, {"threads": 4}, 2),
        (["0", "1", "2", "3"], False, {"threads": 2}, 2),
        (["video"], False, {"threads": 4}, 4),
        (["folder"], False, {"threads": 4}, 1),
        (["folder"], True, {"threads": 4}, 4),
        (["0", "1"], False, {"threads": 4, "device": "GPU"}, 1),
    ],
)
def test_streams_go_with_the_kind_of_source(
    tmp_path: Path, sources: list[str], once: bool, engine: dict[str, object], streams: int
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "video").write_bytes(b"frames")
    found = [
        str(tmp_path / source) if source in ("video", "folder") else source for source in sources
    ]
    assert sources_watching.streams_for(found, engine, once=once) == streams


@pytest.mark.parametrize("source", ["nowhere", "77", "rtsp://127.0.0.1:9/none"])
def test_a_source_that_is_not_there(source: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="expected"):
        arrivals(source if source != "nowhere" else str(tmp_path / source), threading.Event())


def test_a_file_that_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(SourceError, match="can be decoded"):
        arrivals(str(tmp_path / "text.mp4"), threading.Event())


def flagged(bundle: Path) -> None:
    """Make every part an anomalous one."""
    edit_thresholds(bundle, image_threshold=0.5)


def maps_of(bundle: Path, source: Path, maps: Path) -> tuple[list[str], Done]:
    done = lineside("watch", bundle, source, "--once", "--save-maps", maps)
    assert done.returncode == 0, done.stderr
    return sorted(path.name for path in maps.iterdir()), done


def test_maps_of_an_earlier_run_stay_and_are_named_by_frame(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flagged(bundle)
    video = write_video(tmp_path / "line.avi", range(0, 75, 25))
    for hour in range(2):
        monkeypatch.setattr(time, "strftime", lambda _, hour=hour: f"20261127-1{hour}0000")
        names, _ = maps_of(bundle, video, tmp_path / "maps")
    assert names == [
        f"20261127-1{hour}0000_{index:06d}_line-{index}{what}.png"
        for hour in range(2)
        for index in range(3)
        for what in ("", "_mask")
    ]


def test_a_map_shows_the_part_that_was_judged_wherever_its_file_is_by_then(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flagged(bundle)
    folder = tmp_path / "incoming"
    folder.mkdir()
    # As long as a name may be.
    long = "x" * 251 + ".png"
    for seed, name in enumerate(("0.png", long)):
        write_picture(folder / name, seed)
    line = watch_command.prediction_line

    def sorted_out(name: str, prediction: Prediction) -> str:
        """The sorter takes the file away as soon as it has the verdict."""
        Path(name).unlink()
        return line(name, prediction)

    monkeypatch.setattr(watch_command, "prediction_line", sorted_out)
    names, done = maps_of(bundle, folder, tmp_path / "maps")
    assert len(names) == 4
    assert all(cv2.imread(str(tmp_path / "maps" / name)) is not None for name in names)
    assert done.stdout.count("anomalous") == 2


def test_a_map_that_cannot_be_written_costs_no_verdict(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flagged(bundle)
    video = write_video(tmp_path / "line.avi", range(0, 75, 25))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("runtime.atomic.write_bytes", full)
    names, done = maps_of(bundle, video, tmp_path / "maps")
    assert names == []
    assert done.stdout.count("anomalous") == 3
    assert done.stderr.count("expected to write the heat map, but No space left on device") == 3


def test_a_folder_read_once_fails_like_inspect_where_a_picture_cannot_be_read(
    bundle: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "incoming"
    folder.mkdir()
    write_picture(folder / "0.png")
    (folder / "1.png").write_bytes(b"no picture")
    done = lineside("watch", bundle, folder, "--once")
    assert done.returncode == 1
    assert "1 unreadable" in done.stderr


def test_the_library_yields_every_part_and_stops_when_closed(bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "incoming"
    folder.mkdir()
    for seed in range(3):
        write_picture(folder / f"{seed}.png", seed)
    (folder / "3.png").write_bytes(b"no picture")
    found = list(sources_watching.watch(bundle, [str(folder)], once=True))
    assert [Path(one.part.name).name for one in found] == ["0.png", "1.png", "2.png", "3.png"]
    assert [isinstance(one.found, ImageError) for one in found] == [False, False, False, True]
    endless = sources_watching.watch(bundle, [str(folder)])
    assert next(endless).part.name == str(folder / "0.png")
    endless.close()
