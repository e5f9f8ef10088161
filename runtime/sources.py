"""Where parts come from while the line runs: a folder that fills up, a video file, a camera or a stream."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from runtime.errors import SourceError
from runtime.inspector import Source
from runtime.preprocess import IMAGE_SUFFIXES, UInt8Image

POLL_S = 0.2
_RETRIES = 5


@dataclass(frozen=True)
class Arrival:
    """One part to inspect.

    Attributes:
        name: the file's path, or ``SOURCE#frame``.
        source: what :meth:`runtime.inspector.Inspector.inspect` takes.
    """

    name: str
    source: Source


def arrivals(
    source: str, stop: threading.Event, *, existing: bool = True, once: bool = False
) -> Iterator[Arrival]:
    """Parts of a source, as they come.

    Args:
        source: a folder, a video file, the number of a camera, or an RTSP or HTTP URL.
        stop: set it to end the iteration.
        existing: for a folder, whether pictures that are there already count.
        once: for a folder, end after the pictures that are there.

    Raises:
        SourceError: there is no such source, or it cannot be opened.
    """
    path = Path(source)
    if path.is_dir():
        return _folder(path, stop, existing=existing, once=once)
    live = source.isdigit() or "://" in source
    if not live and not path.is_file():
        raise SourceError(
            f"{source}: expected a folder, a video file, a camera's number or a URL, found nothing there; check it"
        )
    capture = cv2.VideoCapture(int(source) if source.isdigit() else source)
    if not capture.isOpened():
        capture.release()
        what = "a camera or stream that answers" if live else "a video that can be decoded"
        raise SourceError(f"{source}: expected {what}, found none; check the cable, the address or the file")
    return _live(source, capture, stop) if live else _video(source, capture, stop)


def _folder(folder: Path, stop: threading.Event, *, existing: bool, once: bool) -> Iterator[Arrival]:
    seen: set[tuple[Path, int]] = set()
    if not existing:
        seen = {(path, path.stat().st_mtime_ns) for path in _pictures(folder)}
    growing: dict[Path, int] = {}
    while not stop.is_set():
        for path in _pictures(folder):
            try:
                status = path.stat()
            except OSError:
                continue  # gone again
            if (path, status.st_mtime_ns) in seen:
                continue
            # A file whose size still changes is being written.
            if not once and growing.get(path) != status.st_size:
                growing[path] = status.st_size
                continue
            growing.pop(path, None)
            seen.add((path, status.st_mtime_ns))
            yield Arrival(str(path), path)
            if stop.is_set():
                return
        if once:
            return
        stop.wait(POLL_S)


def _pictures(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )  # fmt: skip


def _video(source: str, capture: cv2.VideoCapture, stop: threading.Event) -> Iterator[Arrival]:
    """Every frame: a recording can wait."""
    try:
        index = 0
        while not stop.is_set():
            found, frame_bgr = capture.read()
            if not found:
                return
            yield Arrival(f"{source}#{index}", _rgb(frame_bgr))
            index += 1
    finally:
        capture.release()


def _live(source: str, capture: cv2.VideoCapture, stop: threading.Event) -> Iterator[Arrival]:
    """The newest frame: a line does not wait, so frames that nobody had time for are dropped, never queued."""
    newest = _Newest(source, capture, stop)
    try:
        while not stop.is_set():
            arrival = newest.take()
            if arrival is None:
                return
            yield arrival
    finally:
        newest.close()


class _Newest:
    """Reads a camera in a thread of its own and keeps one frame."""

    def __init__(self, source: str, capture: cv2.VideoCapture, stop: threading.Event) -> None:
        self._source, self._capture, self._stop = source, capture, stop
        self._changed = threading.Condition()
        self._frame: Arrival | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._read, name="lineside-camera", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        index = failures = 0
        while not self._ended and not self._stop.is_set() and failures < _RETRIES:
            found, frame_bgr = self._capture.read()
            if not found:
                failures += 1
                time.sleep(POLL_S)
                continue
            failures = 0
            with self._changed:
                self._frame = Arrival(f"{self._source}#{index}", _rgb(frame_bgr))
                self._changed.notify()
            index += 1
        with self._changed:
            self._ended = True
            self._changed.notify()

    def take(self) -> Arrival | None:
        """The newest frame not taken yet, waiting for one if need be; None when the camera has ended."""
        with self._changed:
            while self._frame is None and not self._ended and not self._stop.is_set():
                self._changed.wait(POLL_S)
            frame, self._frame = self._frame, None
            return frame

    def close(self) -> None:
        """Stop reading and release the camera."""
        self._ended = True
        self._thread.join(timeout=2.0)
        self._capture.release()


def _rgb(frame_bgr: UInt8Image) -> UInt8Image:
    return np.ascontiguousarray(frame_bgr[:, :, ::-1])
