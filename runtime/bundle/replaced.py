"""Whether a bundle at work still lies where it was opened: another may be copied over it."""

from __future__ import annotations

import hashlib
from pathlib import Path

Stamp = tuple[int, int, int]


class Original:
    """What tells one bundle from another: a folder's bundle.json, or the packed file.

    Args:
        file: that file.
        content: its bytes, where they are at hand: then one that says the same is the same, however
            often it was copied.
    """

    def __init__(self, file: Path, content: bytes | None = None) -> None:
        self._file = file
        self._digest = None if content is None else hashlib.sha256(content).digest()
        # In one step, for several threads ask.
        self._known = (_stamp(file), False)

    def is_replaced(self) -> bool:
        """Whether it is another one by now; one that is gone is not. Costs a look at its time."""
        stamp, (known, is_replaced) = _stamp(self._file), self._known
        if stamp != known:
            is_replaced = self._is_other()
            self._known = (stamp, is_replaced)
        return is_replaced

    def _is_other(self) -> bool:
        if self._digest is None:
            return self._file.exists()
        try:
            return hashlib.sha256(self._file.read_bytes()).digest() != self._digest
        except OSError:
            return False


def _stamp(file: Path) -> Stamp:
    try:
        status = file.stat()
    except OSError:
        return 0, 0, 0
    return status.st_mtime_ns, status.st_size, status.st_ino
