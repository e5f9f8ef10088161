"""Progress as a callback: libraries tell what they do, a command line shows it.

Nobody listens by default::

    with progress.listening(lambda step: print(step.what, step.done, step.total)):
        inspect_pictures(...)

And what the log lines of a block are about, for those who read them by machine::

    with progress.about(source="press 3", part="000412.png"):
        log.warning("not recorded")
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class Step:
    """Where a piece of work stands.

    Attributes:
        task: tells apart what runs at the same time.
        what: in words, e.g. ``"inspecting"``.
        done: so many of ``total``, from 0 on.
        total: None where nobody knows yet.
        ended: nothing more comes of this task.
    """

    task: int
    what: str
    done: float
    total: float | None
    ended: bool = False


Listener = Callable[[Step], None]


class Advance(Protocol):
    """Tells how far a task is."""

    def __call__(self, done: float, total: float | None = None) -> None:
        """So many are done; ``total`` replaces the one known before."""


_numbers = itertools.count()
_lock = threading.Lock()
_listener: Listener | None = None
_about: ContextVar[Mapping[str, str]] = ContextVar("about")


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Within the block every step of this process goes to ``listener``, from whatever thread."""
    global _listener
    before = _listener
    _listener = listener
    try:
        yield
    finally:
        _listener = before


@contextmanager
def task(what: str, total: float | None = None) -> Iterator[Advance]:
    """A piece of work that tells itself how far it is.

    Args:
        what: in words.
        total: how much there is to do, if that is known.
    """
    number = next(_numbers)
    at: tuple[float, float | None] = (0.0, total)

    def advance(done: float, total: float | None = None) -> None:
        nonlocal at
        at = done, at[1] if total is None else total
        _tell(Step(number, what, *at))

    _tell(Step(number, what, *at))
    try:
        yield advance
    finally:
        _tell(Step(number, what, *at, ended=True))


@contextmanager
def counting(what: str, total: float | None = None) -> Iterator[Callable[[float], None]]:
    """As :func:`task`, for work that tells how much more is done."""
    done = 0.0

    def add(more: float) -> None:
        nonlocal done
        done += more
        advance(done)

    with task(what, total) as advance:
        yield add


def track(items: Iterable[Item], what: str, total: int | None = None) -> Iterator[Item]:
    """Iterate, and tell how far it is.

    Args:
        items: what to iterate.
        what: in words, e.g. ``"inspecting"``.
        total: number of items, when ``items`` has no length.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with task(what, total) as advance:
        for done, item in enumerate(items, 1):
            yield item
            advance(done)


@contextmanager
def about(**fields: str) -> Iterator[None]:
    """Log lines of the block carry these fields, in this thread or task and what it starts.

    ``--log-format json`` shows them. A block within another adds to its fields.

    Args:
        **fields: e.g. ``source``, ``part``, ``request``.
    """
    token = _about.set({**what_about(), **fields})
    try:
        yield
    finally:
        _about.reset(token)


def what_about() -> Mapping[str, str]:
    """The fields of the blocks that this is in."""
    return _about.get({})


def _tell(step: Step) -> None:
    listener = _listener
    if listener is not None:
        with _lock:
            listener(step)
