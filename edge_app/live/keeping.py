"""Pictures of parts that come from no file: cameras' frames, kept within a bounded space."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from edge_app.store import PartPoint
from edge_app.store.schema import point_id
from runtime import atomic
from runtime.errors import ImageError, sentence
from runtime.images.preprocess import decode_rgb
from runtime.types import UInt8Image

log = logging.getLogger("lineside")

FOLDER = "pictures"
Which = Literal["none", "flagged", "all"]
# Down to this share of the space the oldest go once it is used up.
_DOWN_TO = 0.9
_MOST_BYTES = 200 << 20
# zlib's quickest: frames come at the line's pace.
_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1]


class Pictures:
    """Frames by part. Safe in threads.

    Args:
        store: folder of the records; the pictures lie in one of its own below.
        which: of which parts they are kept.
        most_mib: space in MiB; the oldest go first.
    """

    def __init__(self, store: Path, which: Which, most_mib: int) -> None:
        self._folder = store / FOLDER
        self._which, self._most = which, most_mib << 20
        self._lock = threading.Lock()
        self._size = sum(size for _, size, _ in self._files())

    def limit(self, which: Which, most_mib: int) -> None:
        """From now on keep these, within this space; room is made with the next one."""
        self._which, self._most = which, most_mib << 20

    def wants(self, verdict: str) -> bool:
        """Whether a part's frame is kept."""
        return self._which == "all" or (self._which == "flagged" and verdict != "good")

    def keep(self, part_id: str, frame: UInt8Image | bytes) -> None:
        """Write a frame, and make room.

        Args:
            part_id: of the part's record.
            frame: uint8 (H, W, 3), RGB, kept as PNG; or a camera's JPEG, kept as it is.

        Raises:
            OSError: it cannot be written.
        """
        if isinstance(frame, bytes):
            content, suffix = frame, ".jpg"
        else:
            bgr = np.ascontiguousarray(frame[:, :, ::-1])
            content, suffix = cv2.imencode(".png", bgr, _PNG)[1].tobytes(), ".png"
        path = _path_below(self._folder, part_id, suffix)
        with self._lock:
            if path.exists():
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic.write_bytes(path, content)
            self._size += len(content)
            if self._size > self._most:
                self._size = make_room(self._folder, self._files(), self._most)

    def read(self, point: PartPoint) -> tuple[Path, bytes] | None:
        """The frame of a part as :func:`frame_of` finds it."""
        return frame_of(self._folder.parent, point)

    def _files(self) -> list[tuple[int, int, Path]]:
        """Time, size and path of every picture."""
        found = []
        for path in self._folder.glob("*/*"):
            try:
                status = path.stat()
            except OSError:
                continue
            # A frame that several bundles know takes its space once.
            found.append((status.st_mtime_ns, status.st_size // max(status.st_nlink, 1), path))
        return found


def make_room(folder: Path, files: list[tuple[Any, int, Path]], most: int) -> int:
    """Remove the oldest of a folder's files until some of the space is free again.

    Args:
        folder: which, for the log.
        files: age (what sorts them, oldest first), size in bytes and path of each.
        most: space in bytes.

    Returns:
        what the others take, in bytes.
    """
    size, gone = sum(one for _, one, _ in files), 0
    for _, one, path in sorted(files):
        if size <= most * _DOWN_TO:
            break
        path.unlink(missing_ok=True)
        size -= one
        gone += 1
    log.info(f"{folder}: {gone} oldest files were removed for room")
    return size


def frame_of(store: Path, point: PartPoint) -> tuple[Path, bytes] | None:
    """The frame that is kept of a part, and its bytes; None where none is, or another one now.

    Args:
        store: folder of the records.
        point: the part.
    """
    for suffix in (".png", ".jpg"):
        path = _path_below(store / FOLDER, point.point_id, suffix)
        try:
            content = path.read_bytes()
            # A part is known by its file's bytes; one that came as pixels, by these.
            known_by = decode_rgb(content).tobytes() if suffix == ".png" else content
        except (OSError, ImageError):
            continue
        if point_id(known_by, point.bundle) == point.point_id:
            return path, content
    return None


def known_by(point: PartPoint, content: bytes) -> bytes:
    """What a part's id is made of: its file's bytes; of a frame that came as pixels, these.

    Args:
        point: the part.
        content: its picture, from :func:`frame_of` or :func:`own_file`.
    """
    if point_id(content, point.bundle) == point.point_id:
        return content
    return decode_rgb(content).tobytes()


def share_frame(store: Path, path: Path, part_id: str) -> None:
    """Let another record of a part have its frame, too; a disk without links keeps one.

    Args:
        store: folder of the records.
        path: of the frame, from :func:`frame_of`.
        part_id: of the other record.
    """
    other = _path_below(store / FOLDER, part_id, path.suffix)
    try:
        other.parent.mkdir(parents=True, exist_ok=True)
        other.hardlink_to(path)
    except OSError as error:
        log.debug(f"{other}: no link to {path}: {sentence(error)}")


def _path_below(folder: Path, part_id: str, suffix: str) -> Path:
    return folder / part_id[:2] / f"{part_id}{suffix}"


def own_file(point: PartPoint) -> tuple[Path, bytes] | None:
    """The file that a part was judged from, and its bytes; None where it is gone, or another now.

    Args:
        point: the part, whose path is a file's of this machine, or only what it was called.
    """
    try:
        path = Path(point.path).resolve()
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            return None
        content = path.read_bytes()
    except (OSError, ValueError):
        return None
    return (path, content) if point_id(content, point.bundle) == point.point_id else None
