"""What a person sees: results on stdout, log lines and progress on stderr. For commands alone."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from runtime.atomic import readable
from runtime.progress import Step, listening, what_about

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from runtime.bundle.thresholds import Threshold
    from runtime.prediction import Prediction

log = logging.getLogger("lineside")
LOG_FORMATS = ("text", "json")
# Where stderr is a file or a pipe: seconds between lines of progress.
LINE_EVERY_VARIABLE = "LINESIDE_PROGRESS_EVERY"
LINE_EVERY_S = 30.0
_MIN_WIDTH = 170
# Of Unicode's category Cc: a terminal obeys them.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def emit_json(value: Any) -> None:
    """Print one JSON object on one line of stdout: the form of every ``--json`` result."""
    click.echo(readable(json.dumps(value, ensure_ascii=False, allow_nan=False)))


def say(message: str) -> None:
    """One line on stderr, which ``-q`` keeps back."""
    log.info(message)


def printable(text: str) -> str:
    """Text of others for a terminal: a control character in it is shown, not obeyed."""
    return _CONTROLS.sub("\ufffd", readable(text))


def prediction_line(name: str, prediction: Prediction) -> str:
    """One line about one part."""
    score = f"{prediction.pred_score:8.3f}" if prediction.has_score else f"{'-':>8}"
    return (
        f"{prediction.verdict:<12} raw score {score}  "
        f"(threshold {prediction.threshold.image_threshold:.3f})  {prediction.latency_ms:6.1f} ms "
        f" {name}" + (f"  {prediction.reason}" if prediction.reason else "")
    )


def fault_line(count: int) -> str:
    """One line about parts that no picture is to blame for."""
    return (
        f"{count} not judged because the engine or a file of the bundle is at fault; look at the "
        "reasons, then type: lineside verify BUNDLE"
    )


def say_if_weak(threshold: Threshold | None) -> None:
    """One line where a threshold rests on few good parts; None where none has judged."""
    if threshold is not None and threshold.promises_nothing:
        parts = "1 good part" if threshold.n_good == 1 else f"{threshold.n_good} good parts"
        say(
            f"the threshold rests on {parts} and promises nothing: expect false alarms and missed "
            "defects; give more with: lineside calibrate BUNDLE --good DIR"
        )


def wide_console() -> Console:
    """A console on stdout that wraps a long row rather than cutting figures off."""
    from rich.console import Console

    # Names from disk are no markup and hold no emoji codes.
    console = Console(highlight=False, markup=False, emoji=False)
    console.width = max(console.width, _MIN_WIDTH)
    return console


def figure(value: float | None, digits: int = 3) -> str:
    """A figure for people, "-" where undefined."""
    return "-" if value is None else f"{value:.{digits}f}"


def percent(rate: float) -> str:
    """A rate as people write it: 1%, 0.5%, 16.7%."""
    return f"{100.0 * rate:.3g}%"


@contextmanager
def shown(level: int = logging.INFO, log_format: str = "text") -> Iterator[None]:
    """Within the block, log lines from ``level`` on and progress go to stderr.

    Args:
        level: of :mod:`logging`.
        log_format: ``text`` for people, ``json`` for services: one object a line, no bars.
    """
    screen = _Screen(quiet=level > logging.INFO, as_json=log_format == "json")
    handler = _JsonLines() if screen.as_json else _Lines(screen)
    before = log.level
    log.addHandler(handler)
    log.setLevel(level)
    try:
        with listening(screen.see):
            yield
    finally:
        screen.close()
        log.removeHandler(handler)
        log.setLevel(before)


class _Lines(logging.Handler):
    """Log lines for people, above the bars."""

    def __init__(self, screen: _Screen) -> None:
        super().__init__()
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        """As of logging."""
        try:
            self._screen.write(readable(record.getMessage()))
        except BrokenPipeError:
            raise
        except Exception:
            self.handleError(record)


class _JsonLines(logging.StreamHandler[Any]):
    """One JSON object a line: time, level, message, what it is about, the record's ``fields``."""

    def format(self, record: logging.LogRecord) -> str:
        """As of logging."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields: Mapping[str, Any] = getattr(record, "fields", {})
        said = {"time": at, "level": record.levelname.lower(), "message": record.getMessage()}
        return readable(
            json.dumps({**what_about(), **said, **fields}, ensure_ascii=False, default=str)
        )


class _Screen:
    """Bars with the time left on a terminal; elsewhere a line every half minute for the log."""

    def __init__(self, *, quiet: bool, as_json: bool) -> None:
        self.as_json = as_json
        self._silent = quiet or (as_json and sys.stderr.isatty())
        self._bars: Progress | None = None
        self._tasks: dict[int, TaskID] = {}
        self._began: dict[int, float] = {}
        self._said = time.monotonic()
        self._console: Console | None = None

    def write(self, line: str) -> None:
        """One line, never mixed into a bar."""
        if self._console is None:
            from rich.console import Console

            self._console = Console(stderr=True, highlight=False)
        console = self._console if self._bars is None else self._bars.console
        console.print(line, markup=False, emoji=False, soft_wrap=True)

    def see(self, step: Step) -> None:
        """Listener of :mod:`runtime.progress`."""
        if self._silent:
            return
        if sys.stderr.isatty() and not self.as_json:
            self._draw(step)
        else:
            self._log(step)

    def _draw(self, step: Step) -> None:
        if step.ended:
            if self._bars is not None and step.task in self._tasks:
                self._bars.remove_task(self._tasks.pop(step.task))
            if not self._tasks:
                self.close()
            return
        if self._bars is None:
            self._bars = _new_bars()
            self._bars.start()
        if step.task not in self._tasks:
            self._tasks[step.task] = self._bars.add_task(step.what, total=step.total)
        self._bars.update(self._tasks[step.task], completed=step.done, total=step.total)

    def _log(self, step: Step) -> None:
        now = time.monotonic()
        began = self._began.setdefault(step.task, now)
        if step.ended:
            del self._began[step.task]
        if step.ended or now - self._said < _line_every_s():
            return
        self._said = now
        of = "" if step.total is None else f" of {step.total:.0f}"
        left = ""
        if step.total is not None and step.done:
            seconds = (now - began) * (step.total - step.done) / step.done
            left = f", about {timedelta(seconds=round(seconds))} left"
        log.info(f"{step.what}: {step.done:.0f}{of}{left}")

    def close(self) -> None:
        """Take the bars off the screen."""
        if self._bars is not None:
            self._bars.stop()
        self._bars = None


def _line_every_s() -> float:
    try:
        return max(0.0, float(os.environ.get(LINE_EVERY_VARIABLE, LINE_EVERY_S)))
    except ValueError:
        return LINE_EVERY_S


def _new_bars() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True, highlight=False),
        transient=True,
    )
