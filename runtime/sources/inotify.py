"""Linux's inotify: what the system tells of folders. Sources: inotify(7), proc(5).

Neither of the usual libraries fits a folder that fills up. watchfiles does not tell when the
writing of a file ends; watchdog holds what follows a file that was moved out back for half a
second.
"""

from __future__ import annotations

import ctypes
import os
import re
import select
import struct
from dataclasses import dataclass
from pathlib import Path

MODIFY, CLOSE_WRITE, MOVED_FROM, MOVED_TO = 0x2, 0x8, 0x40, 0x80
CREATE, DELETE, MOVE_SELF, IGNORED, IS_DIR = 0x100, 0x200, 0x800, 0x8000, 0x40000000
_ONLY_DIR, _NOT_UNLINKED = 0x01000000, 0x04000000
_WANTED = MODIFY | CLOSE_WRITE | MOVED_FROM | MOVED_TO | CREATE | DELETE | MOVE_SELF
_HEAD = struct.Struct("iIII")
_READ = 1 << 16
# What others change there no system tells.
_SHARES = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "virtiofs", "ceph", "afs", "lustre"}
    | {"glusterfs", "beegfs", "gpfs", "vboxsf", "vmhgfs"}
)


@dataclass(frozen=True)
class Event:
    """One event.

    Attributes:
        watch: number of the folder's watch.
        mask: bits of this module's names.
        cookie: the same for both halves of a renaming.
        name: of the file in the folder; empty for the folder itself.
    """

    watch: int
    mask: int
    cookie: int
    name: str


class Inotify:
    """The system's queue of events.

    Raises:
        OSError: the system has none, or gives no more of them.
    """

    def __init__(self) -> None:
        try:
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._fd: int = self._libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        except (AttributeError, TypeError) as error:
            raise OSError("the system has no inotify") from error
        if self._fd < 0:
            raise _last_error()
        self._wake = os.eventfd(0)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self._poll.register(self._wake, select.POLLIN)

    def add(self, folder: str) -> int:
        """The number of a folder's watch; the one it has if it has one.

        Raises:
            OSError: it is not there, is no folder, or there are too many.
        """
        wanted = _WANTED | _ONLY_DIR | _NOT_UNLINKED
        watch: int = self._libc.inotify_add_watch(self._fd, os.fsencode(folder), wanted)
        if watch < 0:
            raise _last_error()
        return watch

    def remove(self, watch: int) -> None:
        """End a watch; one that has ended does no harm."""
        self._libc.inotify_rm_watch(self._fd, watch)

    def wait(self, timeout_ms: float | None) -> None:
        """Until there are events, :meth:`wake` is called, or the time is over."""
        self._poll.poll(timeout_ms)

    def read(self) -> list[Event]:
        """The events that are there."""
        found = []
        try:
            while data := os.read(self._fd, _READ):
                start = 0
                while start < len(data):
                    watch, mask, cookie, length = _HEAD.unpack_from(data, start)
                    start += _HEAD.size + length
                    name = data[start - length : start].rstrip(b"\0")
                    found.append(Event(watch, mask, cookie, os.fsdecode(name)))
        except BlockingIOError:
            pass
        return found

    def wake(self) -> None:
        """End a :meth:`wait`."""
        os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """Give the queue back."""
        os.close(self._wake)
        os.close(self._fd)


def share_of(folder: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str:
    """The kind of share that a folder lies on, e.g. ``nfs4``; empty for a disk of this machine.

    Args:
        folder: a folder.
        mounts: what is mounted where.
    """
    try:
        place = os.fsencode(folder.resolve())
        lines = mounts.read_bytes().splitlines()
    except OSError:
        return ""
    best, kind = b"", ""
    for line in lines:
        before, _, after = line.partition(b" - ")
        root = re.sub(rb"\\(\d{3})", lambda code: bytes([int(code[1], 8)]), before.split()[4])
        inside = place == root or place.startswith(root.rstrip(b"/") + b"/")
        # Of two in one place the later one is seen.
        if inside and len(root) >= len(best):
            best, kind = root, after.split()[0].decode()
    return kind if kind in _SHARES or kind.startswith("fuse.") else ""


def why_not_told(folder: Path) -> str:
    """Why the system does not tell all that is written to a folder; empty if it does."""
    try:
        Inotify().close()
    except OSError as error:
        return error.strerror or str(error)
    kind = share_of(folder)
    return f"a share, {kind}" if kind else ""


def _last_error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
