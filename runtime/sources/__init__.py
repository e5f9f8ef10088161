"""Where parts come from while the line runs: a folder, a video, a camera or a stream."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from runtime.errors import SourceError
from runtime.sources.camera import every_frame, newest_frames, open_capture
from runtime.sources.filling import pictures_of
from runtime.sources.pictures import Arrival, shown

__all__ = ["Arrival", "arrivals", "shown"]


def arrivals(
    source: str,
    stop: threading.Event,
    *,
    existing: bool = True,
    once: bool = False,
    away: Callable[[str], None] = lambda why: None,
) -> Iterator[Arrival]:
    """Parts of a source, as they come.

    A folder or camera that goes away is told and tried again until it is back: a line must not go
    on unwatched because a cable was touched.

    Args:
        source: a folder, a video file, the number or device file of a camera, or an RTSP or HTTP
            URL.
        stop: set it to end the iteration.
        existing: for a folder, whether pictures that are there already count.
        once: for a folder, end after the pictures that are there.
        away: told why a folder, camera or stream has gone away, and ``""`` when it is back; called
            in a thread of the source.

    Raises:
        SourceError: there is no such source, or it cannot be opened.
    """
    path = Path(source)
    if path.is_dir():
        return pictures_of(path, stop, existing=existing, once=once, away=away)
    live = source.isdigit() or "://" in source or path.is_char_device()
    if not live and not path.is_file():
        raise SourceError(
            f"{source}: expected a folder, a video file, a camera's number or a URL, found "
            "nothing there; check it"
        )
    capture = open_capture(source)
    if capture is None:
        what = "a camera or stream that answers" if live else "a video that can be decoded"
        raise SourceError(
            f"{shown(source)}: expected {what}, found none; check the cable, the address or the "
            "file"
        )
    if live:
        return newest_frames(source, capture, stop, away)
    return every_frame(source, capture, stop)
