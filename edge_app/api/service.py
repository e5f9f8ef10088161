"""What the routes work on: the lines of the box, room for requests, the newest heat maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio import CapacityLimiter
from fastapi import Request

from edge_app.api.places import Places
from edge_app.api.problems import ProblemError
from edge_app.line import Line
from edge_app.page.station import Station
from edge_app.store import PartPoint
from runtime.engines.base import available_cores

if TYPE_CHECKING:
    from edge_app.api.inspecting import HeatMaps
    from edge_app.api.metrics import Metrics


class Service:
    """The API's side of a station.

    Args:
        station: the open lines.
        maps: the newest heat maps.
        metrics: what Prometheus is told.
        places: room for requests.
        below: where a browser finds the API, e.g. ``/line3/v1``.
    """

    def __init__(
        self,
        station: Station,
        maps: HeatMaps,
        metrics: Metrics,
        places: Places,
        below: str = "/v1",
    ) -> None:
        self.station = station
        self.maps = maps
        self.metrics = metrics
        self.places = places
        self.below = below
        # One line judges one part at a time; another thread may decode meanwhile.
        self.workers = CapacityLimiter(max(2, available_cores()))
        self.lines = {line.name: line for line in station.lines.values()}

    def line(self, name: str | None) -> Line:
        """A line by its bundle's name, or the only one.

        Raises:
            ProblemError: there is none of that name, or one must be named.
        """
        if name is None and len(self.lines) == 1:
            return next(iter(self.lines.values()))
        found = self.lines.get(name or "")
        if found is None:
            names = ", ".join(self.lines)
            said = "none" if name is None else repr(name[:60])
            first = next(iter(self.lines))
            raise ProblemError(
                422, f"bundle: expected one of {names}, found {said}; try ?bundle={first}"
            )
        return found

    def chosen(self, name: str | None) -> list[Line]:
        """The line of that name, or all."""
        return list(self.lines.values()) if name is None else [self.line(name)]

    def find(self, part_id: str) -> tuple[Line, PartPoint]:
        """A recorded part, and the line that has judged it.

        Raises:
            ProblemError: there is none.
            StoreError: a store cannot be read.
        """
        for line in self.lines.values():
            point = line.store.get(part_id)
            if point is not None:
                return line, point
        raise ProblemError(
            404, f"expected the id of a recorded part, found {part_id}; see GET /v1/parts"
        )


def service_of(request: Request) -> Service:
    """The service that a request is for."""
    found: Service = request.app.state.service
    return found
