"""OpenCV's captures, for video files, cameras and streams alike."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from runtime.preprocess import UInt8Image


def open_capture(source: str) -> cv2.VideoCapture | None:
    """A capture that is open, or None where there is nothing to open.

    Args:
        source: a video file, the number or device file of a camera, or a URL.
    """
    # /dev/v4l/by-id/… are links; the driver's own name is what OpenCV takes for a camera.
    device = str(Path(source).resolve()) if Path(source).is_char_device() else source
    capture = cv2.VideoCapture(int(device) if device.isdigit() else device)
    if capture.isOpened():
        return capture
    capture.release()
    return None


def read_rgb(capture: cv2.VideoCapture) -> UInt8Image | None:
    """The next frame, uint8 (H, W, 3) RGB, or None where there is none or it cannot be decoded."""
    try:
        found, frame = capture.read()
        return _rgb(frame) if found else None
    except cv2.error:
        return None


def _rgb(frame: npt.NDArray[np.uint8]) -> UInt8Image:
    # Some cameras deliver grey.
    code = cv2.COLOR_GRAY2RGB if frame.ndim == 2 or frame.shape[2] == 1 else cv2.COLOR_BGR2RGB
    return np.asarray(cv2.cvtColor(frame, code), dtype=np.uint8)


def frame_count(capture: cv2.VideoCapture) -> int:
    """Number of frames that a recording says it has; 0 for a camera or stream, which does not know."""
    count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    # A stream answers with a negative number as large as there is.
    return int(count) if 0 < count < 1e9 else 0
