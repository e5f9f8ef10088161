"""A camera or stream: a line does not wait, so older frames are dropped, never queued.

A frame that comes as a JPEG stays one until it is inspected: OpenCV would fill the missing half of
a torn one from the frame before, and say nothing. A camera that delivers one frame for ever is
told: no verdict comes of it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from runtime.errors import ImageError
from runtime.images.preprocess import decode_rgb
from runtime.sources.pictures import Arrival, shown
from runtime.types import UInt8Image

log = logging.getLogger("lineside")

POLL_S = 0.2
# Reads that fail in a row before the camera is opened anew.
_RETRIES = 5
_LONGEST_PAUSE_S = 10.0
# How long a camera that hangs may hold up the end.
_PATIENCE_S = 2.0
# How long a stream may deliver the same frame bit for bit: a codec may send "nothing has changed"
# for some frames. A camera beside the box has noise, and no two frames of it are the same.
FROZEN_S = 2.0
_MJPEG = cv2.VideoWriter.fourcc(*"MJPG")


def newest_frames(
    source: str,
    capture: cv2.VideoCapture,
    stop: threading.Event,
    away: Callable[[str], None] = lambda why: None,
) -> Iterator[Arrival]:
    """Frames until ``stop`` is set; a camera that goes away is opened again when it is back.

    A URL of a recording, which says how many frames it has, ends with it.

    Args:
        source: the number or device file of a camera, or a URL.
        capture: of it, open, and released at the end.
        stop: set it to end the iteration.
        away: see :func:`runtime.sources.arrivals`.
    """
    newest = _Newest(source, capture, stop, away)
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

    def __init__(
        self,
        source: str,
        capture: cv2.VideoCapture,
        stop: threading.Event,
        away: Callable[[str], None],
    ) -> None:
        self._source, self._name, self._stop = source, shown(source), stop
        self._away = away
        self._capture: cv2.VideoCapture | None = capture
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self._frame: Arrival | None = None
        self._ended = False
        self._problem: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="lineside-camera", daemon=True)
        self._thread.start()

    def take(self) -> Arrival | None:
        """The newest frame not taken yet, after waiting for one; None when there is none to come.

        Raises:
            Exception: whatever ended the reading.
        """
        with self._changed:
            while self._frame is None and not self._ended and not self._stop.is_set():
                self._changed.wait(POLL_S)
            frame, self._frame = self._frame, None
            if frame is None and self._problem is not None:
                raise self._problem
            return frame

    def close(self) -> None:
        """Stop reading; the thread releases the camera when it no longer reads it."""
        self._closed.set()
        self._thread.join(timeout=_PATIENCE_S)

    def _run(self) -> None:
        try:
            self._read()
        except BaseException as problem:
            self._problem = problem
        finally:
            if self._capture is not None:
                self._capture.release()
            with self._changed:
                self._ended = True
                self._changed.notify()

    def _is_over(self) -> bool:
        return self._closed.is_set() or self._stop.is_set()

    def _read(self) -> None:
        index = failures = 0
        frozen = Frozen(0.0 if _is_device(self._source) else FROZEN_S)
        while not self._is_over():
            image = None if self._capture is None else read_frame(self._capture)
            if image is not None:
                failures = 0
                name = f"{self._name}#{index}"
                fault = frozen.problem(image)
                with self._changed:
                    self._frame = Arrival(name, image, f"{name}: {fault}" if fault else "")
                    self._changed.notify()
                index += 1
                continue
            failures += 1
            if failures < _RETRIES:
                self._closed.wait(POLL_S)
            elif self._capture is not None and frame_count(self._capture):
                return
            else:
                self._open_again()
                failures = 0

    def _open_again(self) -> None:
        """Until it is back, or all is over."""
        log.warning(f"warning: {self._name}: no frames any more; trying again until they come")
        self._away("no frames any more; check the cable")
        if self._capture is not None:
            self._capture.release()
        self._capture, pause = None, POLL_S
        while not self._is_over():
            capture = open_capture(self._source)
            if capture is not None and read_frame(capture) is not None:
                self._capture = capture
                log.info(f"{self._name}: frames again")
                self._away("")
                return
            if capture is not None:
                capture.release()
            self._closed.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)


def open_capture(source: str) -> cv2.VideoCapture | None:
    """A capture that is open, or None where there is nothing to open.

    Args:
        source: a video file, the number or device file of a camera, or a URL.
    """
    # /dev/v4l/by-id/… are links; the driver's own name is what OpenCV takes for a camera.
    device = str(Path(source).resolve()) if Path(source).is_char_device() else source
    capture = cv2.VideoCapture(int(device) if device.isdigit() else device)
    if capture.isOpened():
        if int(capture.get(cv2.CAP_PROP_FOURCC)) == _MJPEG and not _is_device(source):
            # The packets as they come.
            capture.set(cv2.CAP_PROP_FORMAT, -1)
        return capture
    capture.release()
    return None


def _is_device(source: str) -> bool:
    return source.isdigit() or Path(source).is_char_device()


def read_frame(capture: cv2.VideoCapture) -> UInt8Image | bytes | None:
    """The next frame.

    Returns:
        uint8 (H, W, 3) RGB, or the bytes of a JPEG; None where there is none or it cannot be
        decoded.
    """
    try:
        found, frame = capture.read()
        if found and frame.ndim == 2 and bytes(frame[0, :2]) == b"\xff\xd8":
            return bytes(frame.tobytes())
        return _rgb(frame) if found else None
    except cv2.error:
        return None


def read_rgb(capture: cv2.VideoCapture) -> UInt8Image | None:
    """The next frame, uint8 (H, W, 3) RGB, or None where there is none or it cannot be decoded."""
    frame = read_frame(capture)
    try:
        return decode_rgb(frame) if isinstance(frame, bytes) else frame
    except ImageError:
        return None


class Frozen:
    """Notices a camera that delivers the same frame bit for bit.

    Args:
        limit_s: how long it may.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._last: UInt8Image | bytes | None = None
        self._since = 0.0

    def problem(self, frame: UInt8Image | bytes) -> str:
        """Why a frame is not believed: expected, found, what to do; empty if it is."""
        now = time.monotonic()
        if not _equal(self._last, frame):
            self._last, self._since = frame, now
            return ""
        if now - self._since < self._limit_s:
            return ""
        return (
            f"expected a new frame, found the same one for {now - self._since:.1f} s, bit for bit; "
            "check whether the camera hangs"
        )


def _equal(first: UInt8Image | bytes | None, second: UInt8Image | bytes) -> bool:
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        return first.shape == second.shape and cv2.norm(first, second, cv2.NORM_INF) == 0
    return isinstance(first, bytes) and isinstance(second, bytes) and first == second


def _rgb(frame: npt.NDArray[np.uint8]) -> UInt8Image:
    # Some cameras deliver grey.
    code = cv2.COLOR_GRAY2RGB if frame.ndim == 2 or frame.shape[2] == 1 else cv2.COLOR_BGR2RGB
    return np.asarray(cv2.cvtColor(frame, code), dtype=np.uint8)


def frame_count(capture: cv2.VideoCapture) -> int:
    """Number of frames that a recording says it has; 0 for a camera or stream."""
    count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    # A stream answers with a negative number as large as there is.
    return int(count) if 0 < count < 1e9 else 0


def every_frame(source: str, capture: cv2.VideoCapture, stop: threading.Event) -> Iterator[Arrival]:
    """All frames in order; an end before the one that the file announces is a part without verdict.

    Args:
        source: name of the recording.
        capture: open, and released at the end.
        stop: set it to end the iteration.
    """
    name = shown(source)
    index, announced = 0, frame_count(capture)
    try:
        while not stop.is_set():
            image = read_frame(capture)
            if image is None:
                break
            yield Arrival(f"{name}#{index}", image)
            index += 1
        # Some containers only estimate the number.
        if index < announced - max(2, announced // 50) and not stop.is_set():
            said = f"{name}: expected {announced} frames, found {index}; check whether it is whole"
            yield Arrival(f"{name}#{index}", b"", said)
    finally:
        capture.release()
