"""Text for files and screens."""

from __future__ import annotations


def readable(text: str) -> str:
    """Text that can be stored and shown: bytes of a file name that are no UTF-8 become a replacement character."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
