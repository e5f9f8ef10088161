"""``/v1/bundles/{name}``: a bundle's card, what the words say, and a threshold that is accepted."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request

from edge_app.access.door import Engineer, Who
from edge_app.api.answers import LikePart, Neighbours, finite, part_of
from edge_app.api.problems import Problem, ProblemError
from edge_app.api.service import Service, service_of
from edge_app.line import Line
from edge_app.review.bundle_answers import Card, NewThreshold, Replay, Review, ThresholdState
from edge_app.review.reading import card_of, in_force, review_of, thresholds_at_work
from edge_app.similar import SEEN_BEFORE
from edge_app.store import SearchFilter
from runtime.bundle.golden import verify
from runtime.bundle.thresholds_file import Action, ByHand, thresholds_of
from runtime.errors import BundleError, HealthError, LinesideError, ThresholdError

router = APIRouter()
MOST_MISSED = 24
WEEK = timedelta(days=7)
_NAMED: dict[int | str, dict[str, Any]] = {s: {"model": Problem} for s in (401, 404, 500, 503)}
_CHANGED: dict[int | str, dict[str, Any]] = {
    **_NAMED,
    **{s: {"model": Problem} for s in (400, 403, 409)},
}
# One threshold at a time: who reads, decides and writes must not be overtaken.
_changing = threading.Lock()
_replaying = threading.Lock()


@router.get("/bundles/{name}", responses=_NAMED)
def card(request: Request, who: Who, name: str) -> Card:
    """All that a bundle says of itself: where it comes from, thresholds, certificate, limits."""
    return card_of(_line(service_of(request), name))


@router.get("/bundles/{name}/review", responses=_NAMED)
def review(
    request: Request,
    who: Who,
    name: str,
    missed_cost: Annotated[
        float,
        Query(ge=1, le=1000, description="cost of a missed part, in good parts that are rejected"),
    ] = 10.0,
) -> Review:
    """How far words and verdicts agree, and the threshold that the words speak for."""
    service = service_of(request)
    return review_of(_line(service, name), service.below, missed_cost)


@router.post("/bundles/{name}/threshold", responses=_CHANGED)
def set_threshold(
    request: Request, who: Engineer, name: str, body: NewThreshold
) -> list[ThresholdState]:
    """Take another threshold over, in force at the next part; the old one stays in the history."""
    line = _line(service_of(request), name)
    note = body.note or "set on the screen; promises nothing"
    with _changing, _told():
        now = in_force(line).image_threshold
        if now != body.in_force:
            raise ProblemError(
                409,
                f"in_force: expected {now:g}, which is in force, found {body.in_force:g}; somebody "
                "has changed it: look again",
            )
        by_hand = ByHand(body.image_threshold, note=f"{note} ({who})" if who else note)
        return _change(line, "set", by_hand)


@router.post("/bundles/{name}/threshold/rollback", responses=_CHANGED)
def roll_back(request: Request, who: Engineer, name: str) -> list[ThresholdState]:
    """Go back to the threshold before; the one that is left stays in the history as undone."""
    line = _line(service_of(request), name)
    with _changing, _told():
        return _change(line, "rollback")


@router.post("/bundles/{name}/verify", responses={**_CHANGED, 503: {"model": Problem}})
def replay(request: Request, who: Engineer, name: str) -> Replay:
    """Replay the golden pictures on the device at work; the line goes on meanwhile."""
    line = _line(service_of(request), name)
    variant = line.inspector.variant
    if not _replaying.acquire(blocking=False):
        raise ProblemError(
            503, "expected one replay at a time, found another; ask again", {"Retry-After": "5"}
        )
    try:
        with _told():
            (found,) = verify(
                line.inspector.bundle.source,
                variant.engine,
                variant.precision,
                line.inspector.device,
            )
    finally:
        _replaying.release()
    said = {key: value for key, value in asdict(found).items() if key in Replay.__annotations__}
    for key in ("max_score_difference", "p99_map_difference"):
        said[key] = finite(said[key])
    return Replay(**said, holds=found.holds)


@router.get("/parts/{part_id}/missed", responses=_NAMED)
def missed(request: Request, who: Who, part_id: UUID) -> Neighbours:
    """Parts of the last week that passed, nobody has looked at, and look like this one.

    For a part that passed and was called bad: what else may have slipped through.
    """
    service = service_of(request)
    line, point = service.find(str(part_id))
    since = (datetime.now(UTC) - WEEK).isoformat(timespec="microseconds")
    where = SearchFilter(verdict="good", confirmed="", since=since, exclude_ids=(point.point_id,))
    found = line.store.search(point.embedding, MOST_MISSED, where)
    return Neighbours(
        [
            LikePart(round(one.similarity, 6), part_of(one.point, line.name, service.below))
            for one in found
            if one.similarity >= SEEN_BEFORE
        ],
        SEEN_BEFORE,
    )


def _change(line: Line, action: Action, by_hand: ByHand | None = None) -> list[ThresholdState]:
    variant = line.inspector.variant
    source = line.inspector.bundle.source
    engine, precision = variant.engine, variant.precision
    thresholds_of(source, action, by_hand, engine=engine, precision=precision)
    line.refresh()
    return thresholds_at_work(line)


def _line(service: Service, name: str) -> Line:
    found = service.lines.get(name)
    if found is None:
        raise ProblemError(
            404,
            f"expected one of {', '.join(service.lines)}, found {name[:60]!r}; see GET /v1/bundles",
        )
    return found


@contextmanager
def _told() -> Iterator[None]:
    """What a bundle cannot do is no fault of the box."""
    try:
        yield
    except (BundleError, ThresholdError, HealthError) as error:
        raise ProblemError(409, str(error)) from error
    except LinesideError as error:
        raise ProblemError(500, str(error)) from error
