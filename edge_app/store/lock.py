"""A lock on a folder; the system lets go when the process that holds it dies."""

from __future__ import annotations

import os
import sys
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK_FILE = "lock"


class FolderLock:
    """Exclusive use of a folder by one object of one process.

    Args:
        folder: made when the lock is first taken.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._handle = -1
        self.is_held = False

    def take(self) -> bool:
        """Take it if it is free and the folder can be written; whether it is held now."""
        if self.is_held:
            return True
        try:
            if self._handle < 0:
                self._folder.mkdir(parents=True, exist_ok=True)
                flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
                self._handle = os.open(self._folder / LOCK_FILE, flags, 0o644)
            if sys.platform == "win32":
                msvcrt.locking(self._handle, msvcrt.LK_NBLCK, 1)
            else:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        self.is_held = True
        return True

    def release(self) -> None:
        """Let go; the file stays: if it went, two processes could lock two different ones."""
        if self._handle >= 0:
            os.close(self._handle)
        self._handle = -1
        self.is_held = False
