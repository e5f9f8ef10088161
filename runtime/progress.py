"""Progress on stderr: bars with the time left; where stderr is no terminal, a line every half minute for the log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from datetime import timedelta
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Item = TypeVar("Item")
# Where stderr is a file or a pipe.
LINE_EVERY_S = 30.0


def console() -> Console:
    """A console on stderr; results belong to stdout, so nothing here ever mixes with them."""
    return Console(stderr=True, highlight=False)


class _Bars(Progress):
    """Bars on a terminal, lines elsewhere."""

    def __init__(self, *columns: Any, **options: Any) -> None:
        super().__init__(*columns, **options)
        self._said = time.monotonic()

    def update(self, task_id: TaskID, **options: Any) -> None:
        """As of rich."""
        super().update(task_id, **options)
        self._log(task_id)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """As of rich."""
        super().advance(task_id, advance)
        self._log(task_id)

    def _log(self, task_id: TaskID) -> None:
        now = time.monotonic()
        if not self.disable or now - self._said < LINE_EVERY_S:
            return
        self._said = now
        task = self.tasks[self.task_ids.index(task_id)]
        of = "" if task.total is None else f" of {task.total:.0f}"
        # From the mean speed so far: rich's own estimate looks at the last half minute, in which
        # nothing may have ended.
        left = ""
        if task.total is not None and task.completed and task.elapsed is not None:
            seconds = task.elapsed * (task.total - task.completed) / task.completed
            left = f", about {timedelta(seconds=round(seconds))} left"
        say(f"{task.description}: {task.completed:.0f}{of}{left}")


def progress_bar() -> Progress:
    """A progress display with an estimate of the time left; where stderr is no terminal, a line every half minute."""
    return _Bars(
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
