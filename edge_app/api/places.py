"""Room for requests: so many at once, so many bytes of them; who finds none is told at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edge_app.api.problems import RETRY_S, ProblemError

MOST_REQUESTS = 16
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
