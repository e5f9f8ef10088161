"""What Prometheus is told of a station: its sources, what waits to be looked at, its outputs."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from edge_app.live.board import Board
from runtime.errors import StoreError


class StationGauges(Collector):
    """What is looked up when somebody asks.

    Args:
        board: of the station.
    """

    def __init__(self, board: Board) -> None:
        self._board = board

    def describe(self) -> list[Metric]:
        """Nothing: being registered must not ask the records."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The figures of now."""
        up = _by("source", "lineside_source_up", "1 while a source is there, or has ended.")
        drift = _by("source", "lineside_source_drift_alarm", "1 while its drift alarm is in force.")
        for source in self._board.states():
            up.add_metric([source.name], source.state in ("running", "ended"))
            drift.add_metric([source.name], bool(source.drift))
        delivers = _by("output", "lineside_output_up", "1 while an output takes verdicts.")
        waiting = _by("output", "lineside_output_waiting", "Verdicts that it has yet to take.")
        for output in self._board.outputs():
            delivers.add_metric([output.name], output.state == "running")
            waiting.add_metric([output.name], output.waiting)
        yield from (up, drift, delivers, waiting)
        try:
            flagged = len(self._board.journal.waiting()) + len(self._board.unwritten())
        except StoreError:
            return
        yield GaugeMetricFamily(
            "lineside_parts_to_look_at",
            "Flagged parts that nobody has looked at, at most a hundred.",
            value=flagged,
        )


def _by(label: str, name: str, text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=[label])
