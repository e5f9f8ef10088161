"""``POST /v1/inspect``: pictures in, verdicts out, on the same lines as the page."""

from __future__ import annotations

import base64
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Annotated, Literal

import anyio
import cv2
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from edge_app.access.door import Who
from edge_app.api.answers import Inspection, Inspections, inspection_of
from edge_app.api.bodies import BODY, read_pictures
from edge_app.api.problems import Problem, ProblemError, answer, problem_of
from edge_app.api.service import Service, service_of
from edge_app.line import Inspected, Line
from edge_app.live.looks import Looks, look_at_file
from edge_app.page.render import shrunk
from runtime.errors import ImageError, LinesideError, StoreError

router = APIRouter()
HeatMap = Literal["none", "link", "base64"]
# Heat maps whose links work; the oldest is forgotten.
MOST_MAPS = 64
# They are kept in memory.
MAP_SIDE = 1024


class HeatMaps:
    """The newest heat maps, as PNG, by a name that nobody can guess. Safe in threads."""

    def __init__(self, most: int = MOST_MAPS) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._maps: OrderedDict[str, bytes] = OrderedDict()

    def add(self, png: bytes) -> str:
        """Keep one; its name."""
        name = secrets.token_urlsafe(16)
        with self._lock:
            self._maps[name] = png
            while len(self._maps) > self._most:
                self._maps.popitem(last=False)
        return name

    def get(self, name: str) -> bytes | None:
        """One that is still kept."""
        return self._maps.get(name)


@router.post(
    "/inspect",
    response_model=Inspections,
    openapi_extra=BODY,
    responses={status: {"model": Problem} for status in (400, 401, 408, 413, 500, 503)},
)
async def inspect(
    request: Request,
    who: Who,
    bundle: Annotated[
        str | None, Query(description="name of a bundle; may be left out where there is one")
    ] = None,
    record: Annotated[bool, Query(description="keep a record of each part")] = False,
    heat_map: Annotated[HeatMap, Query(description="what to answer of the heat map")] = "none",
    regions: Annotated[bool, Query(description="measure what is wrong with each part")] = False,
    counts: Annotated[
        bool, Query(description="whether it is a part of the line, which the drift test sees")
    ] = True,
    camera: Annotated[str, Query(max_length=100, description="where the part was seen")] = "",
    name: Annotated[
        str, Query(max_length=200, description="of a picture that is the body itself")
    ] = "",
) -> Response:
    """Judge one picture or several.

    A single picture that cannot be judged at all is a problem; of several each has its own.
    """
    service = service_of(request)
    line = service.line(bundle)
    drawers = {"none": None, "base64": in_base64, "link": partial(_linked, service)}
    with service.places.place() as place:
        pictures = await read_pictures(request, name, place)
        found = [
            await anyio.to_thread.run_sync(
                partial(
                    inspect_one,
                    line,
                    content,
                    title,
                    record=record,
                    counts=counts,
                    looks=service.looks,
                    camera=camera,
                    draw=drawers[heat_map],
                    regions=regions,
                ),
                limiter=service.workers,
            )
            for title, content in pictures
        ]
    if len(found) == 1 and found[0].problem is not None:
        return answer(found[0].problem)
    return JSONResponse(asdict(Inspections(found)))


@router.get(
    "/heat-maps/{name}",
    response_class=Response,
    responses={
        200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}},
        **{status: {"model": Problem} for status in (401, 404)},
    },
)
async def heat_map_of(request: Request, who: Who, name: str) -> Response:
    """A heat map that ``inspect`` has linked; the newest are kept."""
    png = service_of(request).maps.get(name)
    if png is None:
        raise ProblemError(
            404,
            f"expected one of the {MOST_MAPS} newest heat maps, found none of that name; inspect "
            "the picture again, or ask for heat_map=base64",
        )
    return Response(png, media_type="image/png")


def in_base64(png: bytes) -> str:
    """A heat map as it stands in the answer itself."""
    return base64.b64encode(png).decode("ascii")


def _linked(service: Service, png: bytes) -> str:
    return f"{service.below}/heat-maps/{service.maps.add(png)}"


def inspect_one(
    line: Line,
    content: bytes,
    name: str,
    *,
    record: bool = False,
    counts: bool = True,
    looks: Looks | None = None,
    camera: str = "",
    draw: Callable[[bytes], str] | None = None,
    regions: bool = False,
) -> Inspection:
    """Judge a picture, record it once if asked, and say what came of it.

    Args:
        line: who judges.
        content: the picture file's bytes.
        name: what to call it.
        record: whether to keep a record of the part.
        counts: whether the drift test sees it.
        looks: take the picture of a part that is recorded, for the screens.
        camera: where it was seen.
        draw: from the heat map as PNG to what is answered of it; None to draw none.
        regions: whether to measure what is wrong with the part.
    """
    try:
        found = line.inspect(content, counts=counts)
    except LinesideError as error:
        trouble = problem_of(error)
        if isinstance(error, ImageError):
            said = f"{name}: {str(error).removeprefix('picture: ')}"
            trouble = Problem(trouble.title, trouble.status, said)
        return Inspection(name, line.name, problem=trouble)
    part_id, store_problem = None, ""
    if record:
        point = line.point(found, name, camera=camera)
        try:
            line.keep(point)
            part_id = point.point_id
            if looks is not None:
                looks.add(part_id, look_at_file(content, found.image_rgb, found.prediction))
        except StoreError as error:
            # A lost store must not keep anybody from the verdict.
            store_problem = str(error)
    has_map = not found.prediction.is_fault
    drawn = draw(heat_png(found)) if draw is not None and has_map else None
    return inspection_of(
        line,
        name,
        found,
        part_id=part_id,
        store_problem=store_problem,
        heat_map=drawn,
        regions=regions,
    )


def heat_png(part: Inspected) -> bytes:
    """The part under its heat map, at its own shape, at most :data:`MAP_SIDE` pixels a side."""
    drawn = part.prediction.heat_overlay(shrunk(part.image_rgb, MAP_SIDE))
    return bytes(cv2.imencode(".png", drawn[:, :, ::-1])[1].tobytes())
