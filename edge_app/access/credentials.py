"""What the files of people and of tokens share: their names, and that an edit counts at once."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from runtime.atomic import EditedFile
from runtime.errors import PageError

log = logging.getLogger("lineside")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Named(Protocol):
    """An entry of such a file."""

    @property
    def name(self) -> str:
        """Whose it is; the records name it with every word."""


Entry = TypeVar("Entry", bound=Named)


def check_name(name: str, whom: str) -> None:
    """Refuse a name that does not fit in one word of the records.

    Raises:
        PageError: it has other letters than ``A-Z a-z 0-9 . _ -``, or more than 64.
    """
    if not _NAME.fullmatch(name):
        raise PageError(
            f"{name!r}: expected a name of letters, digits, '.', '_' and '-', at most 64, found "
            f"another; name {whom}"
        )


def without(path: Path, known: Sequence[Entry], name: str) -> list[Entry]:
    """All entries of a file but one.

    Raises:
        PageError: there is none of that name.
    """
    left = [one for one in known if one.name != name]
    if len(left) == len(known):
        names = ", ".join(one.name for one in known) or "none"
        raise PageError(f"{path}: expected one of {names}, found '{name}'; name one of these")
    return left


class KnownEntries(Generic[Entry]):
    """The entries of a file that a server looks at; an edit counts at the next request.

    Where the file is gone or damaged there are none, which is said once. Safe in threads.

    Args:
        path: the file.
        read: reads it.
        nobody: what is said where there are none.

    Raises:
        PageError: it is missing, or no such file.
    """

    def __init__(self, path: Path, read: Callable[[Path], list[Entry]], nobody: str) -> None:
        self._file = EditedFile(path, lambda: read(path), "file")
        self._lock, self._nobody = threading.Lock(), nobody

    def now(self) -> list[Entry]:
        """As the file says now."""
        with self._lock:
            if self._file.refresh() and self._file.problem:
                log.warning(f"{self._nobody}: {self._file.problem}")
            return [] if self._file.problem else self._file.value
