"""A station's sources at work on a tiny bundle, without its server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge_app.live.board import Board
from edge_app.live.feeding import feeding
from edge_app.live.keeping import Pictures
from edge_app.live.settings import Source
from edge_app.page.choice import Station
from edge_app.records import Arrival, Database, Journal
from tests.edge_app.served import station_of

PATIENCE_S = 20


@dataclass
class Fed:
    """What is at work."""

    station: Station
    board: Board

    def arrived(self) -> list[Arrival]:
        """Everything in the journal, oldest first."""
        return self.board.journal.newest(1000)[::-1]


@contextmanager
def fed(
    bundle: Path,
    store: Path,
    *sources: Source,
    kept: Pictures | None = None,
    isolate: bool = False,
) -> Iterator[Fed]:
    """Sources are judged by one bundle while the block runs."""
    with station_of((bundle, "openvino"), store=str(store), isolate=isolate) as station:
        database = Database(store, durable=False)
        board = Board(sources, Journal(database), kept=kept)
        try:
            with feeding(station, board, store):
                yield Fed(station, board)
        finally:
            database.close()


def until(true: Callable[[], object]) -> None:
    """Wait for a condition."""
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)
