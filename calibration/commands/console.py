"""Tables and figures on stdout."""

from __future__ import annotations

from rich.console import Console

_MIN_WIDTH = 150


def wide_console() -> Console:
    """A console on stdout that wraps a long row rather than cutting figures off."""
    # Names from disk are no markup and hold no emoji codes.
    console = Console(highlight=False, markup=False, emoji=False)
    console.width = max(console.width, _MIN_WIDTH)
    return console
