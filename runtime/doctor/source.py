"""Whether parts come from a source."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

from runtime.doctor.finding import Finding, guarded
from runtime.images.dataset import pictures_below
from runtime.sources.camera import open_capture, read_rgb
from runtime.sources.filling import POLL_S
from runtime.sources.inotify import why_not_told
from runtime.sources.pictures import shown
from runtime.types import UInt8Image

# A stream's decoder may wait for half a minute of its own for an address that answers nothing.
PATIENCE_S = 15.0


def source_findings(
    source: str, name: str = "", patience_s: float = PATIENCE_S
) -> Iterator[Finding]:
    """Open a folder, video, camera or stream and read one frame; nothing is judged or written.

    Args:
        source: as for :func:`runtime.sources.arrivals`.
        name: what a station calls it.
        patience_s: seconds to wait for the first frame.
    """
    called = f"{name}: {shown(source)}" if name else shown(source)
    path = Path(source)
    is_live = source.isdigit() or "://" in source or path.is_char_device()
    if is_live or path.is_file():
        yield from guarded("source", _frame(source, called, patience_s, is_live=is_live))
    else:
        yield from guarded("source", _folder(path, called))


def _folder(path: Path, called: str) -> Iterator[Finding]:
    if not path.is_dir():
        yield Finding(
            "source",
            "fault",
            f"{called}: expected a folder, a video file, a camera's number or a URL, found nothing "
            "there",
            f"type: mkdir {path}, mount the share, or correct the path",
        )
    elif not os.access(path, os.R_OK | os.X_OK):
        yield Finding(
            "source",
            "fault",
            f"{called}: expected a folder that can be read, found one that cannot",
            "give this user the right to read it",
        )
    else:
        there = sum(1 for _ in pictures_below(path))
        yield Finding("source", "ok", f"{called}: {there} pictures there now; {_how_told(path)}")


def _how_told(path: Path) -> str:
    """How new pictures in a folder are noticed."""
    if not (why := why_not_told(path)):
        return "the system tells of new ones"
    return (
        f"looked at every {POLL_S} s ({why}), so that a file that lives less than {2 * POLL_S} s "
        "may be missed"
    )


def _frame(source: str, called: str, patience_s: float, *, is_live: bool) -> Iterator[Finding]:
    image, waited = _first_frame(source, patience_s)
    if image is not None:
        height, width = image.shape[:2]
        yield Finding("source", "ok", f"{called}: a frame of {width} x {height} pixels")
        return
    what = f"no frame within {patience_s:.0f} s" if waited else "none"
    yield Finding(
        "source",
        "fault",
        f"{called}: expected a frame, found {what}",
        _camera_advice(source) if is_live else "check whether the file is whole, or convert it",
    )


def _first_frame(source: str, patience_s: float) -> tuple[UInt8Image | None, bool]:
    """The first frame or None, and whether waiting for it was given up."""
    found: list[UInt8Image | None] = []

    def read() -> None:
        image = None
        # Whatever a driver raises is no frame.
        try:
            capture = open_capture(source)
            if capture is not None:
                image = read_rgb(capture)
                capture.release()
        finally:
            found.append(image)

    # A daemon: a driver that hangs must not keep the command from ending.
    thread = threading.Thread(target=read, name="lineside-doctor", daemon=True)
    thread.start()
    thread.join(patience_s)
    return (found[0], False) if found else (None, True)


def _camera_advice(source: str) -> str:
    if "://" in source:
        return "check the address, the user's name and the network"
    node = Path(f"/dev/video{source}") if source.isdigit() else Path(source)
    if not node.exists():
        return f"{node} is not there: check the cable, then type: ls /dev/v4l/by-id"
    if not os.access(node, os.R_OK | os.W_OK):
        return "give this user the right: usermod -aG video USER, and log in again"
    return f"another program may have it: fuser {node}; a running station does"
