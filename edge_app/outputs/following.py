"""Takes over what may change while a station runs: outputs, and which frames are kept.

Sources, bundles, the page and the engine are what parts in work stand on: they change with the next
start, and the log says so. Limits, tokens and users lie in files of their own, which count at once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from edge_app.live.board import Board
from edge_app.live.config import Config, read_config
from edge_app.live.settings import OutputTable
from edge_app.outputs.base import Address, Show, secret_of
from edge_app.outputs.delivery import Output, OutputState, delivering
from edge_app.records import Database, Outbox
from runtime.errors import LinesideError

log = logging.getLogger("lineside")

LOOK_S = 2.0
# What changes at once; every other key waits for the next start.
AT_ONCE = ("outputs", "pictures")


@dataclass
class Follow:
    """A configuration's file, looked at every two seconds, or at once on :attr:`again`.

    Attributes:
        path: of the file.
        again: set it to have the file read now.
    """

    path: Path
    again: threading.Event = field(default_factory=threading.Event)


class Deliveries:
    """The outputs of a station, which may be exchanged while it runs.

    Args:
        board: is told how each is.
        database: the records.
        show: how a part looks.
    """

    def __init__(self, board: Board, database: Database, show: Show) -> None:
        self._board, self._database, self._show = board, database, show
        self._running = ExitStack()

    def start(self, tables: Sequence[OutputTable]) -> None:
        """End those at work, each after what it is delivering, and start these.

        One that keeps its name goes on where it was.

        Raises:
            ConfigError: a secret is not in the environment; those at work go on.
            StoreError: the records cannot be written; likewise.
        """
        outputs = [self._output(one) for one in tables]
        self.close()
        names = [one.address.name for one in outputs]
        outbox = Outbox(self._database, names)
        self._board.outputs_are([OutputState(name) for name in names])
        self._running.enter_context(
            delivering(outputs, self._board.journal, outbox, self._board.output_is)
        )

    def close(self) -> None:
        """End those at work."""
        self._running.close()

    def _output(self, table: OutputTable) -> Output:
        secret = secret_of(table.secret_variable, table.url)
        address = Address(table.name, table.url, table.topic, secret, self._show)
        return Output(address, tuple(table.verdicts), table.most_waiting)


@contextmanager
def following(
    config: Config, follow: Follow | None, take: Callable[[Config], None]
) -> Iterator[None]:
    """Take a file's changes over while the block runs.

    Args:
        config: as it is in force.
        follow: the file, or None for nothing to follow.
        take: takes over what may change at once.
    """
    if follow is None:
        yield
        return
    stop = threading.Event()
    thread = threading.Thread(
        target=_look, args=(config, follow, take, stop), name="lineside-config", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        stop.set()
        follow.again.set()
        thread.join(LOOK_S)


def _look(
    config: Config, follow: Follow, take: Callable[[Config], None], stop: threading.Event
) -> None:
    stamp = _stamp(follow.path)
    while not stop.is_set():
        asked = follow.again.wait(LOOK_S)
        follow.again.clear()
        now = _stamp(follow.path)
        if stop.is_set() or not (asked or now != stamp):
            continue
        stamp = now
        config = _taken(config, follow.path, take)


def _taken(config: Config, path: Path, take: Callable[[Config], None]) -> Config:
    """The configuration in force from now on; the old one where the new one cannot be used."""
    try:
        found = read_config(path)
        changed = [name for name in vars(config) if getattr(config, name) != getattr(found, name)]
        at_once = {name: getattr(found, name) for name in changed if name in AT_ONCE}
        if at_once:
            take(replace(config, **at_once))
    except LinesideError as error:
        log.warning(f"warning: the configuration stays as it was: {error}")
        return config
    later = [name for name in changed if name not in AT_ONCE]
    if at_once:
        log.info(f"{path}: {' and '.join(at_once)} taken over")
    if later:
        log.warning(
            f"warning: {path}: {', '.join(later)}: in force at the next start; start the station "
            "again"
        )
    if not changed:
        log.info(f"{path}: nothing has changed")
    return replace(config, **at_once)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size
