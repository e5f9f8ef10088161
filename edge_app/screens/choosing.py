"""Which recorded parts a request is about: the filters of a list, of the history and of exports."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import Depends, Query

from edge_app.api.answers import Verdict
from edge_app.api.problems import ProblemError
from edge_app.api.service import Service
from edge_app.line import Line
from edge_app.store import PartPoint, SearchFilter
from edge_app.store.schema import Place, checked_id, utc_time
from runtime.errors import StoreError

_TIME = "ISO 8601, UTC where no zone is given"
_FORMAT: dict[str, Any] = {"format": "date-time"}
_SCORE = "normalized score, 0.5 at the threshold"
_BATCH = 200
Score = Annotated[float | None, Query(ge=0, le=1, description=_SCORE)]


@dataclass(frozen=True)
class Choice:
    """Parts of a bundle, or of all, that satisfy a filter."""

    bundle: str | None
    where: SearchFilter

    def page(
        self, service: Service, before: Place | None, size: int
    ) -> list[tuple[PartPoint, Line]]:
        """The newest of them after a place, newest first."""
        found = [
            (point, line)
            for line in service.chosen(self.bundle)
            for point in line.recent(self.where, before, size)
        ]
        found.sort(key=lambda entry: (entry[0].time, entry[0].point_id), reverse=True)
        return found[:size]

    def all(self, service: Service) -> Iterator[tuple[PartPoint, Line]]:
        """All of them, newest first; parts that come meanwhile are left out."""
        before: Place | None = None
        while found := self.page(service, before, _BATCH):
            yield from found
            last = found[-1][0]
            before = (last.time, last.point_id)


async def _choice(
    bundle: Annotated[str | None, Query(description="name of a bundle")] = None,
    verdict: Annotated[Verdict | None, Query()] = None,
    camera: Annotated[
        str | None, Query(max_length=100, description="where they were seen; a station's source")
    ] = None,
    word: Annotated[
        Literal["right", "wrong", "none"] | None, Query(description="what was said of them")
    ] = None,
    since: Annotated[
        str | None, Query(description=f"{_TIME}; inclusive", json_schema_extra=_FORMAT)
    ] = None,
    until: Annotated[
        str | None, Query(description=f"{_TIME}; exclusive", json_schema_extra=_FORMAT)
    ] = None,
    min_score: Score = None,
    max_score: Score = None,
) -> Choice:
    where = SearchFilter(
        verdict=verdict,
        camera=camera,
        confirmed={"none": ""}.get(word, word) if word else None,
        since=_time("since", since),
        until=_time("until", until),
        min_score=min_score,
        max_score=max_score,
    )
    return Choice(bundle, where)


# In the signature of a route that is about some of the parts.
Chosen = Annotated[Choice, Depends(_choice)]


def cursor_of(point: PartPoint) -> str:
    """Where the page after this part begins."""
    text = json.dumps([point.time, point.point_id])
    return base64.urlsafe_b64encode(text.encode()).decode("ascii").rstrip("=")


def place_of(cursor: str) -> Place:
    """What :func:`cursor_of` has made.

    Raises:
        ProblemError: it has not.
    """
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        time, part_id = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        return utc_time(time) if time else "", checked_id(part_id)
    except (ValueError, TypeError, RecursionError, StoreError) as error:
        raise ProblemError(
            400,
            "cursor: expected the 'next' of an earlier page, found another text; leave it out to "
            "begin with the newest part",
        ) from error


def _time(name: str, value: str | None) -> str | None:
    try:
        return None if value is None else utc_time(value)
    except StoreError as error:
        raise ProblemError(422, f"{name}: {str(error).removeprefix('time: ')}") from error
