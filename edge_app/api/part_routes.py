"""``/v1/parts``: what the records know, and the words that are given on it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from edge_app.access.door import Who
from edge_app.api.answers import (
    Feedback,
    LikePart,
    Neighbours,
    PartHistory,
    PartsPage,
    Verdict,
    given,
    part_of,
)
from edge_app.api.problems import Problem, ProblemError
from edge_app.api.service import Service, service_of
from edge_app.screens.choosing import Chosen, cursor_of, place_of
from edge_app.screens.looking import look_for, original_of
from edge_app.similar import SEEN_BEFORE
from edge_app.store import Neighbor, SearchFilter

router = APIRouter()
MOST = 200
MOST_NEIGHBORS = 50
_SHARE = r"(0(\.[0-9]{1,6})?|1(\.0{1,6})?)"
_BOX = f"^{_SHARE}(,{_SHARE}){{3}}$"
_JPEG = b"\xff\xd8\xff"
_ASKED: dict[int | str, dict[str, Any]] = {s: {"model": Problem} for s in (401, 503)}
_NAMED: dict[int | str, dict[str, Any]] = {**_ASKED, 404: {"model": Problem}}


@router.get("/parts", responses={**_ASKED, 400: {"model": Problem}})
def parts(
    request: Request,
    who: Who,
    chosen: Chosen,
    cursor: Annotated[str | None, Query(description="`next` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST)] = 50,
) -> PartsPage:
    """Recorded parts, newest first."""
    service = service_of(request)
    found = chosen.page(service, None if cursor is None else place_of(cursor), limit + 1)
    return PartsPage(
        [part_of(point, line.name, service.below) for point, line in found[:limit]],
        cursor_of(found[limit - 1][0]) if len(found) > limit else None,
    )


@router.get("/parts/{part_id}", responses=_NAMED)
def part(request: Request, who: Who, part_id: UUID) -> PartHistory:
    """One part, with everything that was said of it."""
    return history(service_of(request), str(part_id))


@router.get(
    "/parts/{part_id}/picture",
    response_class=Response,
    responses={
        200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}},
        **_NAMED,
    },
)
def picture(request: Request, who: Who, part_id: UUID) -> Response:
    """A part's thumbnail, out of the records: no file of the box is ever read for it."""
    _, point = service_of(request).find(str(part_id))
    try:
        jpeg = base64.b64decode(point.thumbnail, validate=True)
    except (binascii.Error, ValueError):
        jpeg = b""
    if not jpeg.startswith(_JPEG):
        raise ProblemError(
            404, f"expected a part with a picture, found none of {part_id}; it has a record alone"
        )
    return Response(
        jpeg, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=86400"}
    )


@router.get("/parts/{part_id}/neighbours", responses=_NAMED)
def neighbours(
    request: Request,
    who: Who,
    part_id: UUID,
    k: Annotated[int, Query(ge=1, le=MOST_NEIGHBORS)] = 5,
    verdict: Annotated[Verdict | None, Query(description="of those that are looked for")] = None,
    box: Annotated[
        str | None,
        Query(description="left,top,width,height of a box on it, as shares", pattern=_BOX),
    ] = None,
) -> Neighbours:
    """The recorded parts that are most like a part, or like a box on it; itself left out.

    Below ``floor`` a part is like nothing seen before.
    """
    service = service_of(request)
    line, point = service.find(str(part_id))
    where = SearchFilter(exclude_ids=(point.point_id,), verdict=verdict)
    if box is None:
        found: Sequence[Neighbor] = line.store_of(point.bundle).search(point.embedding, k, where)
    else:
        picture = original_of(service, point)
        content = picture[1] if picture else look_for(service, point.point_id).jpeg
        left, top, width, height = map(float, box.split(","))
        found = line.like_box(content, (left, top, width, height), k, where)
    return Neighbours(
        [
            LikePart(round(one.similarity, 6), part_of(one.point, line.name, service.below))
            for one in found
        ],
        SEEN_BEFORE,
    )


@router.post(
    "/parts/{part_id}/feedback",
    responses={**_NAMED, **{status: {"model": Problem} for status in (400, 413)}},
)
def feedback(request: Request, who: Who, part_id: UUID, body: Feedback) -> PartHistory:
    """Say that a part's verdict is right or wrong; an empty word takes the last one back."""
    service = service_of(request)
    line, point = service.find(str(part_id))
    line.record(point, body.word, who, defect=body.defect_type, note=body.note)
    return history(service, str(part_id))


def history(service: Service, part_id: str) -> PartHistory:
    """A part with what was said of it."""
    line, point = service.find(part_id)
    return PartHistory(
        part_of(point, line.name, service.below),
        [given(word) for word in line.store_of(point.bundle).words(part_id)],
    )
