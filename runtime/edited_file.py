"""A file that people may edit while the line runs: taken over when it changes, the last good state kept when it is damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from runtime.errors import BundleError

Value = TypeVar("Value")


class EditedFile(Generic[Value]):
    """What a file says now.

    Args:
        path: the file; only its time and size are looked at here.
        read: reads it.
        what: its content in words, for :attr:`problem`.

    Attributes:
        value: the last good state.
        problem: why the file as it is now is not in force; empty if it is.

    Raises:
        BundleError: the file cannot be read, so there is no last good state.
    """

    def __init__(self, path: Path, read: Callable[[], Value], what: str) -> None:
        self._path, self._read, self._what = path, read, what
        # Before reading, so that an edit in between is seen the next time.
        self._stamp = self._stamp_now()
        self.value = read()
        self.problem = ""

    def refresh(self) -> bool:
        """Take over an edit; costs one look at the file's time when nothing has changed.

        Returns:
            Whether the file has changed since it was last read.
        """
        stamp = self._stamp_now()
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            self.value = self._read()
        except BundleError as error:
            self.problem = f"the earlier {self._what} stays in force: {error}"
        else:
            self.problem = ""
        return True

    def _stamp_now(self) -> tuple[int, int]:
        try:
            status = self._path.stat()
        except OSError:
            return 0, 0
        return status.st_mtime_ns, status.st_size
