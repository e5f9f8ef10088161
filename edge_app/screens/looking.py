"""How a part looks: its picture as large as it is left, its heat map, what is wrong as an outline.

Of the newest parts they are at hand. Of an older one the picture is read again: a frame that was
kept, or a file below a folder that the box watches or shows, if it is still the same. Else its
thumbnail is all there is.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request, Response

from edge_app.access.door import Who
from edge_app.api.answers import file_name
from edge_app.api.problems import Problem, ProblemError
from edge_app.api.service import Service, service_of
from edge_app.line import Line
from edge_app.live.keeping import own_file
from edge_app.live.looks import Look, contours, heat_png, look_of, overlay_png
from edge_app.screens.line_answers import Outline
from edge_app.store import PartPoint
from runtime.errors import LinesideError

router = APIRouter()
_NAMED: dict[int | str, dict[str, Any]] = {s: {"model": Problem} for s in (401, 404, 503)}
_CACHED = {"Cache-Control": "private, max-age=600"}


def _picture(kind: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {kind: {"schema": {"type": "string", "format": "binary"}}}}, **_NAMED}


@router.get("/parts/{part_id}/image", response_class=Response, responses=_picture("image/jpeg"))
def image(request: Request, who: Who, part_id: UUID) -> Response:
    """The part, at most 1,024 pixels on the longer side; a thumbnail where no more is left."""
    look = look_for(service_of(request), str(part_id))
    return Response(look.jpeg, media_type="image/jpeg", headers=_CACHED)


@router.get("/parts/{part_id}/heat", response_class=Response, responses=_picture("image/png"))
def heat(request: Request, who: Who, part_id: UUID) -> Response:
    """The heat map alone, clear where the part looks good."""
    look = look_for(service_of(request), str(part_id))
    if look.prediction is None or look.prediction.verdict == "cannot_judge":
        raise ProblemError(
            404, f"expected a part with a heat map, found none of {part_id}; its picture is gone"
        )
    return Response(heat_png(look.prediction), media_type="image/png", headers=_CACHED)


@router.get("/parts/{part_id}/outline", responses=_NAMED)
def outline(request: Request, who: Who, part_id: UUID) -> Outline:
    """Where the part is anomalous, as polygons."""
    found = look_for(service_of(request), str(part_id)).prediction
    if found is None or found.verdict == "cannot_judge":
        return Outline([], has_heat=False, width=0, height=0, whole=found is not None)
    height, width = found.image_hw
    return Outline(contours(found), has_heat=True, width=width, height=height, whole=True)


def look_for(service: Service, part_id: str) -> Look:
    """How a part looks.

    Raises:
        ProblemError: there is no such part, or it has no picture.
        StoreError: the records cannot be read.
    """
    known = service.looks.get(part_id)
    if known is not None:
        return known
    line, point = service.find(part_id)
    look = _read_again(service, line, point)
    if look is None:
        if not point.thumbnail:
            raise ProblemError(
                404,
                f"expected a part with a picture, found none of {part_id}; it has a record alone",
            )
        return Look(base64.b64decode(point.thumbnail))
    service.looks.add(part_id, look)
    return look


def original_of(service: Service, point: PartPoint) -> tuple[str, bytes] | None:
    """The name and the bytes of the part's picture: its own file, or the frame that was kept.

    None where it is gone, another one now, or nobody's to show.
    """
    kept = None if service.board is None else service.board.kept
    frame = None if kept is None else kept.read(point)
    if frame is not None:
        name = file_name(point.path).replace("#", "-").replace(".", "-")
        return f"{name}{frame[0].suffix}", frame[1]
    if not any(_below(point.path, folder) for folder in service.folders):
        return None
    found = own_file(point)
    return None if found is None else (found[0].name, found[1])


def _below(path: str, folder: Path) -> bool:
    try:
        return Path(path).resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError):
        return False


def shown_files(service: Service, part_id: str) -> tuple[bytes, str, bytes] | None:
    """A part's picture, the ending of its file, and the part under its heat map as PNG.

    The file itself where it is still there, else what the screen shows; None where nothing is left.
    """
    try:
        look = look_for(service, part_id)
        point = service.find(part_id)[1]
    except ProblemError:
        return None
    found = original_of(service, point)
    name, content = found if found is not None else ("part.jpg", look.jpeg)
    overlay = b"" if look.prediction is None else overlay_png(look)
    return content, Path(name).suffix.lower() or ".jpg", overlay


def _read_again(service: Service, line: Line, point: PartPoint) -> Look | None:
    found = original_of(service, point)
    if found is None:
        return None
    try:
        image_rgb, prediction = line.look_again(found[1])
    except LinesideError:
        return None
    return look_of(image_rgb, prediction)
