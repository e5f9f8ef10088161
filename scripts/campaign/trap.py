"""A trap for what hostile input must not bring about: writes outside a folder, and pickles."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

# What was caught since somebody last cleared it.
VIOLATIONS: list[str] = []
_WRITES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.truncate")
_WORK: list[Path | None] = [None]
_HOOKED: list[bool] = []


def watch(work: Path | None) -> None:
    """Trap what is written outside a folder, and what loads a pickle; None ends it."""
    _WORK[0] = work
    if not _HOOKED:
        sys.addaudithook(_audit)
        _HOOKED.append(True)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    work = _WORK[0]
    if work is None:
        return
    if event == "pickle.find_class":
        VIOLATIONS.append(f"a pickle asked for {arguments[0]}.{arguments[1]}")
    flags = arguments[2] if event == "open" and isinstance(arguments[2], int) else 0
    writes = event in _WRITES or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if writes and isinstance(arguments[0], str | bytes):
        path = Path(os.path.normpath(os.fsdecode(arguments[0])))
        unpacked = path.is_relative_to(tempfile.gettempdir()) and "lineside-bundle-" in str(path)
        if path.is_absolute() and not (
            path.is_relative_to(work) or unpacked or str(path) == "/dev/null"
        ):
            VIOLATIONS.append(f"{event} {path}")
