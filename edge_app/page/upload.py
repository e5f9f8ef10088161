"""A file field that takes what was sent to it, and never goes and fetches something."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import gradio as gr


def sent_only(field: gr.File) -> gr.File:
    """Make a field refuse addresses.

    Gradio's own takes one in the place of a file, looks its name up and downloads it: a box tells
    nobody what it does, and asks no machine that a client names.
    """
    fetch: Callable[[str | Path | None], Awaitable[str | None]]
    fetch = field.async_move_resource_to_block_cache

    async def refuse(found: str | Path | None) -> str | None:
        if found is not None and "://" in str(found):
            raise gr.Error(
                f"expected a file that was sent, found the address {str(found)[:60]!r}; "
                "send the picture itself",
                print_exception=False,
            )
        return await fetch(found)

    field.async_move_resource_to_block_cache = refuse
    return field
