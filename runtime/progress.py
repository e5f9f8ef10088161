"""Progress on stderr: bars with the time left, silent when stderr is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Item = TypeVar("Item")


def console() -> Console:
    """A console on stderr; results belong to stdout, so nothing here ever mixes with them."""
    return Console(stderr=True, highlight=False)


def progress_bar() -> Progress:
    """A progress display with an estimate of the time left; it draws nothing when stderr is no terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console(),
        transient=True,
        disable=not sys.stderr.isatty(),
    )


def track(items: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
    """Iterate with a progress bar.

    Args:
        items: what to iterate.
        description: shown left of the bar, e.g. ``"inspecting"``.
        total: number of items, when ``items`` has no length.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with progress_bar() as bar:
        task = bar.add_task(description, total=total, note="")
        for item in items:
            yield item
            bar.advance(task)


def say(message: str) -> None:
    """Print one line of progress to stderr, terminal or not: for steps that a log should keep."""
    console().print(message, markup=False, soft_wrap=True)
