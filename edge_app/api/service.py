"""What the routes work on: the lines of the box, room for requests, the newest heat maps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from anyio import CapacityLimiter
from fastapi import Request
from fastapi.dependencies.models import Dependant

from edge_app.api.problems import RETRY_S, ProblemError
from edge_app.batch.job import Batches
from edge_app.line import Line
from edge_app.live.board import Board
from edge_app.live.looks import Looks
from edge_app.page.choice import Station
from edge_app.store import PartPoint
from runtime.engines.base import available_cores

if TYPE_CHECKING:
    from edge_app.api.inspecting import HeatMaps
    from edge_app.api.metrics import Metrics
    from edge_app.teaching.teacher import Teacher


MOST_REQUESTS = 32
MOST_MIB = 400


class Place:
    """A request's place, and the bytes that it holds."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self.size = 0

    def weigh(self, size: int) -> None:
        """Hold so many bytes more.

        Raises:
            ProblemError: there is no room for them.
        """
        self.size += size
        self._places.size += size
        if self._places.size > self._places.most_bytes:
            self._places.overloads += 1
            mib = self._places.most_bytes >> 20
            raise _overload(f"{mib} MiB of pictures at once", "more")


class Places:
    """The places of a server. Used in its event loop alone.

    Args:
        most: requests that are in work or wait.
        most_mib: MiB of pictures that they hold together.
    """

    def __init__(self, most: int = MOST_REQUESTS, most_mib: int = MOST_MIB) -> None:
        self.most = most
        self.most_bytes = most_mib << 20
        self.taken = 0
        self.size = 0
        self.overloads = 0

    @contextmanager
    def place(self) -> Iterator[Place]:
        """Take a place while the block runs.

        Raises:
            ProblemError: all are taken.
        """
        if self.taken >= self.most:
            self.overloads += 1
            raise _overload(f"{self.most} requests at once", "one more")
        self.taken += 1
        place = Place(self)
        try:
            yield place
        finally:
            self.taken -= 1
            self.size -= place.size


def _overload(most: str, found: str) -> ProblemError:
    return ProblemError(
        503,
        f"expected at most {most}, found {found}; send it again after a second",
        {"Retry-After": str(RETRY_S)},
    )


class Service:
    """The API's side of a station.

    Args:
        station: the open lines.
        maps: the newest heat maps.
        metrics: what Prometheus is told.
        places: room for requests.
        below: where a browser finds the API, e.g. ``/line3/v1``.

    Attributes:
        board: of a station that watches sources, or None.
        looks: pictures of the newest parts.
        folders: where pictures of parts may be read from, to be shown.
        teacher: teaches parts, or None where the records are in no folder of the box.
        batches: the one at work, or the newest.
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
        self.board: Board | None = None
        self.looks = Looks()
        self.folders: list[Path] = []
        self.teacher: Teacher | None = None
        self.batches = Batches()

    def watches(self, board: Board | None, samples: Path | None) -> None:
        """Show a station's sources, and read pictures from their folders and that of samples."""
        self.board = board
        self.folders = [] if samples is None else [samples]
        if board is not None:
            self.looks = board.looks
            self.folders += board.folders()

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
            for store in line.stores:
                point = store.get(part_id)
                if point is not None:
                    return line, point
        raise ProblemError(
            404, f"expected the id of a recorded part, found {part_id}; see GET /v1/parts"
        )


def service_of(request: Request) -> Service:
    """The service that a request is for."""
    found: Service = request.app.state.service
    return found


async def known_query(request: Request) -> None:
    """Refuse a parameter that the route does not have: a misspelt ``record`` would record nothing.

    Raises:
        ProblemError: there is one.
    """
    dependant = getattr(request.scope.get("route"), "dependant", None)
    known = [] if dependant is None else list(_queries(dependant))
    for name in request.query_params:
        if name not in known:
            wanted = f"one of {', '.join(known)}" if known else "no parameter"
            raise ProblemError(422, f"query: expected {wanted}, found {name[:40]!r}; leave it out")


def _queries(dependant: Dependant) -> Iterator[str]:
    """Names of a route's parameters, those of what it depends on included."""
    for inner in dependant.dependencies:
        yield from _queries(inner)
    yield from (one.alias for one in dependant.query_params)
