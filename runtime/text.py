"""Text for files and screens."""

from __future__ import annotations

import re

# Of Unicode's category Cc: a terminal obeys them.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def readable(text: str) -> str:
    """Text that can be stored and shown: bytes of a file name that are no UTF-8 become a replacement character."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def printable(text: str) -> str:
    """Text of others for a terminal: a control character in it is shown, not obeyed."""
    return _CONTROLS.sub("\ufffd", readable(text))
