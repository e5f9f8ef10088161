"""``/v1/batch``: one batch at a time, of a folder that the box shows, or of a ZIP that is sent."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import anyio
from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import Field

from edge_app.access.door import Who
from edge_app.api.answers import Number
from edge_app.api.bodies import picture_name
from edge_app.api.problems import Problem, ProblemError
from edge_app.api.service import Service, service_of
from edge_app.batch.job import Batch, State
from edge_app.batch.report import counted, csv_of, html_of
from edge_app.screens.folders import folder_of, top_folders
from runtime.errors import DataError

router = APIRouter()
MOST_ZIP_MIB = 2000
# A ZIP that arrives leaves so much room on the disk.
_ROOM_BYTES = 500 << 20
_PATIENCE_S = 600.0
_ASKED: dict[int | str, dict[str, Any]] = {s: {"model": Problem} for s in (401, 404)}
_BEGUN: dict[int | str, dict[str, Any]] = {
    **_ASKED,
    **{s: {"model": Problem} for s in (400, 408, 409, 413, 503, 507)},
}
_ZIP = {
    "requestBody": {
        "required": True,
        "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@dataclass(frozen=True)
class BatchFolder:
    """What to judge: one of ``folders`` of ``GET /v1/batch``, or a folder below it."""

    folder: Annotated[str, Field(min_length=1, max_length=500)]


@dataclass(frozen=True)
class BatchState:
    """How far the newest batch has got.

    Attributes:
        state: ``none`` where there was no batch yet.
        done: pictures so far.
        seconds_left: at the pace so far; null before the first picture.
        counts: pictures by what became of them.
        folders: what may be judged, without their paths on the box.
    """

    state: Literal[State, "none"]
    name: str
    bundle: str
    total: int
    done: int
    seconds: float
    seconds_left: Number
    counts: dict[str, int]
    trouble: str
    folders: list[str]


@dataclass(frozen=True)
class BatchRow:
    """One picture; ``thumbnail`` is JPEG in base64 of a flagged part."""

    number: int
    name: str
    verdict: str
    raw_score: Number
    normalized_score: Number
    reason: str
    thumbnail: str


@dataclass(frozen=True)
class BatchRows:
    """Rows of the newest batch after one."""

    rows: list[BatchRow]


@router.get("/batch", responses=_ASKED)
def state(request: Request, who: Who) -> BatchState:
    """How far the newest batch has got, and what may be judged."""
    return _state(service_of(request))


@router.post("/batch", responses=_BEGUN)
def begin(
    request: Request,
    who: Who,
    body: BatchFolder,
    bundle: Annotated[str | None, Query(description="name of a bundle")] = None,
) -> BatchState:
    """Judge the pictures of a folder below those that the box watches or shows."""
    service = service_of(request)
    line = service.line(bundle)
    folder = folder_of(service, body.folder)
    if folder is None:
        known = ", ".join(top_folders(service)) or "none"
        raise ProblemError(
            404,
            f"expected a folder below {known}, found {body.folder[:100]!r}; choose one of them",
        )
    try:
        service.batches.begin(Batch(body.folder, folder, line))
    except DataError as error:
        raise ProblemError(404, str(error).replace(str(folder), body.folder)) from error
    return _state(service)


@router.post("/batch/zip", responses=_BEGUN, openapi_extra=_ZIP)
async def begin_zip(
    request: Request,
    who: Who,
    bundle: Annotated[str | None, Query(description="name of a bundle")] = None,
    name: Annotated[str, Query(max_length=200, description="what to call it")] = "pictures.zip",
) -> BatchState:
    """Judge the pictures of a ZIP, which is the body."""
    service = service_of(request)
    line = service.line(bundle)
    service.batches.refuse_second()
    with tempfile.NamedTemporaryFile(prefix="lineside-batch-", suffix=".zip", delete=False) as file:
        path = Path(file.name)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await _receive(request, file)
        except BaseException as error:
            path.unlink(missing_ok=True)
            if isinstance(error, TimeoutError):
                raise ProblemError(408, "expected a whole ZIP, found a part; send less") from None
            raise

    def started() -> None:
        try:
            service.batches.begin(Batch(picture_name(name), path, line))
        except DataError as error:
            path.unlink(missing_ok=True)
            raise ProblemError(400, str(error)) from error
        except ProblemError:
            path.unlink(missing_ok=True)
            raise

    await anyio.to_thread.run_sync(started)
    return _state(service)


@router.delete("/batch", responses=_ASKED)
def cancel(request: Request, who: Who) -> BatchState:
    """End the batch after the picture in work; what was judged stays."""
    service = service_of(request)
    _newest(service).cancel()
    return _state(service)


@router.get("/batch/rows", responses=_ASKED)
def rows(
    request: Request,
    who: Who,
    after: Annotated[int, Query(ge=0, le=10**6, description="number of the last row known")] = 0,
    limit: Annotated[int, Query(ge=1, le=2000)] = 500,
) -> BatchRows:
    """What came of the pictures, in the order of the batch."""
    found = _newest(service_of(request)).rows[after : after + limit]
    return BatchRows([BatchRow(**asdict(one)) for one in found])


@router.get("/batch/results.csv", response_class=StreamingResponse, responses=_ASKED)
def as_csv(request: Request, who: Who) -> StreamingResponse:
    """All rows as a table."""
    return _file(csv_of(_newest(service_of(request))), "text/csv", "batch.csv")


@router.get("/batch/report.html", response_class=StreamingResponse, responses=_ASKED)
def as_html(request: Request, who: Who) -> StreamingResponse:
    """All rows as a page that stands for itself, flagged parts first."""
    return _file(html_of(_newest(service_of(request))), "text/html", "batch.html")


def _file(content: Any, kind: str, name: str) -> StreamingResponse:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(content, media_type=kind, headers=headers)


async def _receive(request: Request, file: Any) -> None:
    size, room = 0, shutil.disk_usage(tempfile.gettempdir()).free - _ROOM_BYTES
    async for chunk in request.stream():
        size += len(chunk)
        if size > MOST_ZIP_MIB << 20:
            raise ProblemError(413, f"expected at most {MOST_ZIP_MIB} MiB, found more; send less")
        if size > room:
            raise ProblemError(507, "expected room on the disk for the ZIP, found none; free some")
        await anyio.to_thread.run_sync(file.write, chunk)


def _newest(service: Service) -> Batch:
    found = service.batches.newest
    if found is None:
        raise ProblemError(404, "expected a batch, found none yet; begin one: POST /v1/batch")
    return found


def _state(service: Service) -> BatchState:
    batch, folders = service.batches.newest, list(top_folders(service))
    if batch is None:
        return BatchState("none", "", "", 0, 0, 0.0, None, {}, "", folders)
    done = list(batch.rows)
    left = batch.seconds_left
    return BatchState(
        state=batch.state,
        name=batch.name,
        bundle=batch.line.name,
        total=batch.total,
        done=len(done),
        seconds=round(batch.seconds, 1),
        seconds_left=None if left is None else round(left, 1),
        counts=counted(done),
        trouble=batch.trouble,
        folders=folders,
    )
