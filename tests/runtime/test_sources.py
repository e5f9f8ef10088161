"""Sources that misbehave: cameras that go away, folders that do, files that are not whole yet."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import ImageError
from runtime.images.preprocess import decoded
from runtime.sources import Arrival, arrivals, filling, shown
from runtime.sources.camera import Frozen, newest_frames, read_frame
from tests.runtime.tiny import random_image

PATIENCE_S = 30.0


class Collected:
    """What a source yields, gathered in a thread."""

    def __init__(self, parts: Iterator[Arrival], stop: threading.Event) -> None:
        self.parts: list[Arrival] = []
        self.problem: BaseException | None = None
        self._stop = stop
        self._thread = threading.Thread(target=self._run, args=(parts,))
        self._thread.start()

    def _run(self, parts: Iterator[Arrival]) -> None:
        try:
            self.parts.extend(parts)
        except BaseException as problem:
            self.problem = problem

    @property
    def names(self) -> list[str]:
        return [Path(part.name).name for part in self.parts]

    def wait_for(self, count: int) -> None:
        end = time.monotonic() + PATIENCE_S
        while len(self.parts) < count and time.monotonic() < end:
            time.sleep(0.02)
        assert len(self.parts) >= count

    def finish(self) -> None:
        self._stop.set()
        self._thread.join(timeout=PATIENCE_S)
        assert not self._thread.is_alive()


@contextmanager
def watching(source: Path | str, **options: bool) -> Iterator[Collected]:
    stop = threading.Event()
    found = Collected(arrivals(str(source), stop, **options), stop)
    try:
        yield found
    finally:
        found.finish()


def write_picture(path: Path, seed: int = 0) -> None:
    assert cv2.imwrite(str(path), random_image(seed)[:, :, ::-1])


@contextmanager
def mjpeg_server(frames_at_first: int) -> Iterator[str]:
    """A camera on the network whose first connection breaks off after so many frames; later ones
    last."""
    connections = []

    class Camera(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            connections.append(self.path)
            left = frames_at_first if len(connections) == 1 else 10_000
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            data = cv2.imencode(".jpg", np.full((64, 64, 3), 100, np.uint8))[1].tobytes()
            try:
                for _ in range(left):
                    head = (
                        "--frame\r\nContent-Type: image/jpeg\r\n"
                        f"Content-Length: {len(data)}\r\n\r\n"
                    )
                    self.wfile.write(head.encode() + data + b"\r\n")
                    time.sleep(0.01)
            except OSError:
                return

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Camera)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://operator:secret@127.0.0.1:{server.server_port}/line.mjpg"
    finally:
        server.shutdown()
        server.server_close()


def test_a_camera_that_goes_away_is_told_and_watched_again(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    caplog.set_level("INFO", "lineside")
    with mjpeg_server(frames_at_first=30) as url, watching(url) as found:
        found.wait_for(35)
        numbers = [int(name.rpartition("#")[2]) for name in found.names]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] >= 30
    told = caplog.text
    assert told.index("no frames any more") < told.index("frames again")
    assert "secret" not in told
    assert all("secret" not in part.name for part in found.parts)


@pytest.mark.parametrize(
    ("source", "printed"),
    [
        ("rtsp://operator:secret@camera/stream", "rtsp://camera/stream"),
        ("rtsp://operator:p@ss:word@camera:554/a?x=1@2", "rtsp://camera:554/a?x=1@2"),
        ("http://camera/a@b", "http://camera/a@b"),
        ("incoming/p@rts", "incoming/p@rts"),
        ("0", "0"),
    ],
)
def test_passwords_are_not_shown(source: str, printed: str) -> None:
    assert shown(source) == printed


@given(st.from_regex(r"[a-zA-Z0-9:@._-]{1,20}", fullmatch=True))
def test_whatever_the_password_is(password: str) -> None:
    assert shown(f"rtsp://operator:{password}@camera/1") == "rtsp://camera/1"


class FakeCapture:
    """What OpenCV answers, one after the other; the last answer for ever."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.released = False

    def read(self) -> object:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def get(self, _: int) -> float:
        return -1.0

    def release(self) -> None:
        self.released = True


def test_frames_of_every_kind_become_rgb() -> None:
    gray = np.full((4, 6), 50, np.uint8)
    bgr = np.zeros((4, 6, 3), np.uint8)
    bgr[:, :, 0] = 200
    for frame, expected in (
        (gray, (50, 50, 50)),
        (gray[:, :, None], (50, 50, 50)),
        (bgr, (0, 0, 200)),
    ):
        found = read_frame(FakeCapture((True, frame)))  # type: ignore[arg-type]
        assert isinstance(found, np.ndarray)
        assert found.shape == (4, 6, 3)
        assert tuple(found[0, 0]) == expected
    assert read_frame(FakeCapture((False, None))) is None  # type: ignore[arg-type]
    assert read_frame(FakeCapture(cv2.error("driver"))) is None  # type: ignore[arg-type]


def test_what_ends_the_reading_of_a_camera_is_raised_where_it_is_watched() -> None:
    stop = threading.Event()
    capture = FakeCapture((True, np.zeros((4, 4, 3), np.uint8)), MemoryError("no room"))
    found = Collected(newest_frames("0", capture, stop), stop)  # type: ignore[arg-type]
    end = time.monotonic() + PATIENCE_S
    while found.problem is None and time.monotonic() < end:
        time.sleep(0.02)
    found.finish()
    assert isinstance(found.problem, MemoryError)
    assert capture.released


def test_a_recording_that_breaks_off_is_told(tmp_path: Path) -> None:
    whole = tmp_path / "whole.avi"
    writer = cv2.VideoWriter(str(whole), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 64))
    for level in range(40):
        writer.write(np.full((64, 64, 3), level, np.uint8))
    writer.release()
    found = list(arrivals(str(whole), threading.Event()))
    assert [part.fault for part in found] == [""] * 40
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    found = list(arrivals(str(cut), threading.Event()))
    assert len(found) < 40
    assert {part.fault for part in found[:-1]} == {""}
    assert f"cut.avi: expected 40 frames, found {len(found) - 1}; " in found[-1].fault


def test_a_folder_that_goes_away_and_comes_back_is_not_inspected_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "lineside")
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    for index in range(3):
        write_picture(incoming / f"{index}.png", index)
    with watching(incoming) as found:
        found.wait_for(3)
        incoming.rename(tmp_path / "away")
        time.sleep(0.5)
        # A share that is not mounted is an empty folder, or none.
        incoming.mkdir()
        time.sleep(0.5)
        incoming.rmdir()
        (tmp_path / "away").rename(incoming)
        write_picture(incoming / "new.png", 9)
        found.wait_for(4)
        time.sleep(0.5)
    assert found.names == ["0.png", "1.png", "2.png", "new.png"]
    told = caplog.text
    assert told.index("cannot be read; trying again") < told.index("can be read again")


def no_events(*_: object) -> None:
    raise OSError(errno.EMFILE, "too many")


@pytest.mark.parametrize("told", [True, False], ids=["events", "looks"])
def test_a_file_whose_size_is_there_before_its_content_is_left_until_it_is_whole(
    tmp_path: Path, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not told:
        monkeypatch.setattr(filling, "FolderEvents", no_events)
    write_picture(tmp_path / "whole.bmp")
    content = (tmp_path / "whole.bmp").read_bytes()
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    with watching(incoming) as found:
        with (incoming / "part.bmp").open("wb") as file:
            file.truncate(len(content))
            for start in range(0, len(content), len(content) // 10):
                file.write(content[start : start + len(content) // 10])
                file.flush()
                time.sleep(0.1)
                assert found.parts == []
        found.wait_for(1)
        time.sleep(0.5)
    assert found.names == ["part.bmp"]


@pytest.mark.parametrize("told", [True, False], ids=["events", "looks"])
def test_a_picture_written_anew_under_its_old_name_is_a_new_part(
    tmp_path: Path, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not told:
        monkeypatch.setattr(filling, "FolderEvents", no_events)
    write_picture(tmp_path / "latest.png", 0)
    with watching(tmp_path) as found:
        found.wait_for(1)
        write_picture(tmp_path / "latest.png", 1)
        found.wait_for(2)
    assert found.names == ["latest.png", "latest.png"]


def test_a_picture_written_over_within_the_same_time_is_a_new_part(tmp_path: Path) -> None:
    path = tmp_path / "part.png"
    write_picture(path)
    then = path.stat().st_mtime_ns
    with watching(tmp_path) as found:
        found.wait_for(1)
        assert cv2.imwrite(str(path), np.zeros((40, 40, 3), np.uint8))
        os.utime(path, ns=(then, then))
        found.wait_for(2)
    assert found.names == ["part.png", "part.png"]


def test_a_folder_is_watched_in_depth(tmp_path: Path) -> None:
    """A camera that starts a folder a day, one of which lies on another disk; links may go
    round."""
    incoming, elsewhere = tmp_path / "incoming", tmp_path / "elsewhere"
    for name in (incoming / "monday", incoming / ".trash", elsewhere):
        name.mkdir(parents=True)
    write_picture(incoming / "monday" / "0.png", 0)
    write_picture(incoming / ".trash" / "hidden.png", 0)
    write_picture(elsewhere / "1.png", 1)
    (incoming / "archive").symlink_to(elsewhere)
    (elsewhere / "round").symlink_to(incoming)
    with watching(incoming) as found:
        found.wait_for(2)
        (incoming / "tuesday" / "early").mkdir(parents=True)
        write_picture(incoming / "tuesday" / "early" / "2.png", 2)
        found.wait_for(3)
    assert [part.name for part in found.parts] == [
        str(incoming / name) for name in ("archive/1.png", "monday/0.png", "tuesday/early/2.png")
    ]


def test_only_new_pictures(tmp_path: Path) -> None:
    write_picture(tmp_path / "old.png")
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / ".hidden.png").write_bytes(b"")
    with watching(tmp_path, existing=False) as found:
        write_picture(tmp_path / "NEW.PNG", 1)
        found.wait_for(1)
    assert found.names == ["NEW.PNG"]


def test_what_is_gone_for_long_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(filling.time, "monotonic", lambda: now[0])
    known = filling._Known()
    for day in range(5):
        now[0] = day * 2.0 * filling.FORGET_S
        there = {f"{day}-{index}.png": (1, day) for index in range(100)}
        known.add(known.new_among(there))
        assert known.new_among(there) == {}
        now[0] += 1.0
        assert known.new_among({}) == {}
        assert len(known._written) <= 200
    assert known.new_among({"4-0.png": (1, 4)}) == {}
    assert known.new_among({"0-0.png": (1, 0)}) == {"0-0.png": (1, 0)}


def test_a_camera_that_freezes_is_told_at_the_first_frame_that_is_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr("runtime.sources.camera.time.monotonic", lambda: now[0])
    device, stream = Frozen(0.0), Frozen(2.0)
    frames = [np.full((4, 4, 3), level, np.uint8) for level in (1, 2, 2, 2, 3)]
    said = []
    for frame in frames:
        said.append((device.problem(frame), stream.problem(frame.tobytes())))
        now[0] += 1.5
    assert [(bool(one), bool(other)) for one, other in said] == [
        (False, False),
        (False, False),
        (True, False),
        (True, True),
        (False, False),
    ]
    assert "found the same one for 3.0 s, bit for bit; check whether the camera" in said[3][1]


def test_half_a_frame_of_a_stream_is_no_part() -> None:
    """Frames come as JPEGs, every second one cut in half; the decoder would fill it up."""
    served = [cv2.imencode(".jpg", random_image(seed))[1].tobytes() for seed in range(60)]

    class Camera(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=b")
            self.end_headers()
            for index, data in enumerate(served):
                body = data[: len(data) // 2] if index % 2 else data
                head = f"--b\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
                self.wfile.write(head.encode() + body + b"\r\n")
                time.sleep(0.01)

    with ThreadingHTTPServer(("127.0.0.1", 0), Camera) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stop = threading.Event()
        read = torn = 0
        with closing(arrivals(f"http://127.0.0.1:{server.server_port}/x.mjpg", stop)) as found:
            for part in found:
                try:
                    decoded(part.checked())
                    read += 1
                    assert isinstance(part.source, bytes)
                    assert part.source in served
                except ImageError as error:
                    torn += 1
                    assert "cut off before its end" in str(error)
                if torn >= 5 and read >= 5:
                    break
        stop.set()
        server.shutdown()
