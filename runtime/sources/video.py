"""A recording: it can wait, so every frame of it is inspected."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import cv2

from runtime.progress import say
from runtime.sources.arrival import Arrival, shown
from runtime.sources.capture import frame_count, read_rgb


def every_frame(source: str, capture: cv2.VideoCapture, stop: threading.Event) -> Iterator[Arrival]:
    """All frames in order; an end before the one that the file announces is told.

    Args:
        source: name of the recording.
        capture: open, and released at the end.
        stop: set it to end the iteration.
    """
    name = shown(source)
    index, announced = 0, frame_count(capture)
    try:
        while not stop.is_set():
            image = read_rgb(capture)
            if image is None:
                break
            yield Arrival(f"{name}#{index}", image)
            index += 1
        # Some containers only estimate the number.
        if index < announced - max(2, announced // 50) and not stop.is_set():
            say(
                f"warning: {name}: expected {announced} frames, found {index}; check whether the file is whole"
            )
    finally:
        capture.release()
