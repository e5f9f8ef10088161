"""Pictures to try the box on, from the folder that it was started with: ``--samples``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import cv2
import numpy as np
from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as InPath

from edge_app.access.door import Who
from edge_app.api.problems import Problem, ProblemError
from edge_app.api.service import service_of
from edge_app.page.choice import Sample

router = APIRouter()
_NAMED: dict[int | str, dict[str, Any]] = {s: {"model": Problem} for s in (401, 404)}
_FILE = {"schema": {"type": "string", "format": "binary"}}
Bundle = Annotated[
    str | None, Query(description="name of a bundle; may be left out where there is one")
]
Number = Annotated[int, InPath(ge=1)]


@dataclass(frozen=True)
class SampleCard:
    """A picture to try the box on.

    Attributes:
        number: from 1.
        name: of its file.
        caption: its defect, as its folder is called, and its file's name without the ending.
    """

    number: int
    name: str
    caption: str


@dataclass(frozen=True)
class Samples:
    """Those of a bundle's kind of part, defects first."""

    samples: list[SampleCard]


@router.get("/samples", responses={401: {"model": Problem}})
def samples(request: Request, who: Who, bundle: Bundle = None) -> Samples:
    """Pictures to try a bundle on; none where the box was started without a folder of them."""
    return Samples(
        [
            SampleCard(number, sample.part.path.name, sample.caption)
            for number, sample in enumerate(_samples(request, bundle), 1)
        ]
    )


@router.get(
    "/samples/{number}/picture",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": _FILE}}, **_NAMED},
)
def picture(request: Request, who: Who, number: Number, bundle: Bundle = None) -> Response:
    """A sample, small."""
    thumbnail_bgr = np.ascontiguousarray(_one(request, number, bundle).thumbnail_rgb[:, :, ::-1])
    jpeg = cv2.imencode(".jpg", thumbnail_bgr)[1].tobytes()
    return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": "no-cache"})


@router.get(
    "/samples/{number}/file",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": _FILE}}, **_NAMED},
)
def file(request: Request, who: Who, number: Number, bundle: Bundle = None) -> Response:
    """A sample's file as it is, to be inspected."""
    path = _one(request, number, bundle).part.path
    try:
        return Response(path.read_bytes(), media_type="application/octet-stream")
    except OSError as error:
        raise ProblemError(
            404, f"{path.name}: expected a sample, found that it is gone; choose another"
        ) from error


def _samples(request: Request, bundle: str | None) -> list[Sample]:
    service = service_of(request)
    line = service.line(bundle)
    station = service.station
    return station.samples.get(station.names[line.name], [])


def _one(request: Request, number: int, bundle: str | None) -> Sample:
    found = _samples(request, bundle)
    if number > len(found):
        raise ProblemError(
            404, f"expected the number of a sample in GET /v1/samples, found {number}; ask again"
        )
    return found[number - 1]
