"""``/v1/teach``: a new part at the box, from its pictures to the bundle that judges."""

from __future__ import annotations

from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi import Path as InPath

from edge_app.access.door import Engineer, Who
from edge_app.api.answers import file_name
from edge_app.api.bodies import BODY, read_pictures
from edge_app.api.problems import Problem, ProblemError
from edge_app.api.service import service_of
from edge_app.line import Line
from edge_app.screens.folders import folder_of
from edge_app.teaching.draft import Draft
from edge_app.teaching.showing import shown_state
from edge_app.teaching.sources import (
    content_of,
    newest_parts,
    pictures_of_folder,
    tried_parts,
)
from edge_app.teaching.teach_answers import Chosen, NewDraft, Take, TakeOut, TeachState
from edge_app.teaching.teacher import Teacher
from runtime.errors import BundleError

router = APIRouter()
_ASKED: dict[int | str, dict[str, Any]] = {s: {"model": Problem} for s in (401, 404, 503)}
_CHANGES: dict[int | str, dict[str, Any]] = {
    **_ASKED,
    **{s: {"model": Problem} for s in (400, 403, 409, 413)},
}


async def _client(
    lineside_client: Annotated[
        str,
        Header(max_length=64, description="whoever teaches, the same in each request"),
    ] = "",
) -> str:
    return lineside_client


Client = Annotated[str, Depends(_client)]


@router.get("/teach", responses=_ASKED)
def state(request: Request, who: Who, client: Client) -> TeachState:
    """The part that is being taught, what is under way, and the versions of every bundle."""
    return _state(request, client)


@router.post("/teach/draft", responses=_CHANGES)
def begin(request: Request, who: Engineer, client: Client, body: NewDraft) -> TeachState:
    """Begin to teach a part; nobody else may be teaching one."""
    teacher = _teacher(request)
    line = service_of(request).line(body.bundle)
    part = body.part.strip()
    if not part or not part.isprintable():
        raise ProblemError(422, f"part: expected the name of the part, found {body.part!r}")
    if not teacher.teachable(line.name):
        raise ProblemError(
            409,
            f"{line.name}: expected a PatchCore bundle that judges whole pictures, found another; "
            "teach with another bundle, or train this part on a workstation: lineside train",
        )
    if body.add and line.is_blank:
        raise ProblemError(
            409,
            f"{line.name}: expected a bundle that has learned the part, found a blank one; teach "
            "the part as a new one: without add",
        )
    if teacher.drafts.now is not None:
        _mine(teacher, client)
    teacher.forget_looks()
    teacher.drafts.begin(line.name, part, who, client, add=body.add)
    return _state(request, client)


@router.delete("/teach/draft", responses=_CHANGES)
def discard(request: Request, who: Engineer, client: Client) -> TeachState:
    """Forget the part that is being taught, whoever has begun it; versions stay."""
    teacher = _teacher(request)
    teacher.drafts.discard()
    teacher.forget_looks()
    return _state(request, client)


@router.post(
    "/teach/pictures",
    openapi_extra=BODY,
    responses={**_CHANGES, 408: {"model": Problem}},
)
async def add(request: Request, who: Engineer, client: Client) -> TeachState:
    """Take pictures of good parts in."""
    teacher = _teacher(request)
    _mine(teacher, client)
    with service_of(request).places.place() as place:
        pictures = await read_pictures(request, "", place)
        return await anyio.to_thread.run_sync(_added, request, client, pictures)


@router.post("/teach/take", responses=_CHANGES)
def take(request: Request, who: Engineer, client: Client, body: Take) -> TeachState:
    """Take pictures in that the box has: of recorded parts, or of a folder."""
    service, draft = service_of(request), _mine(_teacher(request), client)
    if body.source == "folder":
        folder = folder_of(service, body.folder)
        if folder is None:
            raise ProblemError(422, f"folder: expected one of GET /v1/teach, found {body.folder!r}")
        return _added(request, client, pictures_of_folder(folder, body.count))
    points = newest_parts(service, service.line(draft.line), good_alone=body.source == "good")
    found = [
        (f"{file_name(point.path)}", content)
        for point in points[: body.count]
        if (content := content_of(service, point)) is not None
    ]
    left_out = min(len(points), body.count) - len(found)
    said = [f"{left_out} recorded parts: their pictures are gone"] if left_out else []
    return _added(request, client, found[::-1], said)


@router.get(
    "/teach/pictures/{number}",
    response_class=Response,
    responses={
        200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}},
        **_ASKED,
    },
)
def picture(request: Request, who: Who, number: Annotated[int, InPath(ge=1)]) -> Response:
    """A picture of the part that is being taught, small."""
    jpeg = _teacher(request).drafts.thumbnail(number)
    if jpeg is None:
        raise _no_picture(number)
    return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": "no-cache"})


@router.post("/teach/pictures/{number}", responses=_CHANGES)
def take_out(
    request: Request,
    who: Engineer,
    client: Client,
    number: Annotated[int, InPath(ge=1)],
    body: TakeOut,
) -> TeachState:
    """Take a picture out, or back in."""
    teacher = _teacher(request)
    _mine(teacher, client)
    _idle(teacher)
    if not teacher.drafts.take_out(number, out=body.out):
        raise _no_picture(number)
    teacher.look()
    return _state(request, client)


@router.post("/teach/make", responses=_CHANGES)
def make(request: Request, who: Engineer, client: Client) -> TeachState:
    """Make a version of the line's bundle in the background; nothing goes live by that."""
    teacher = _teacher(request)
    draft = _mine(teacher, client)
    if not draft.taken:
        raise ProblemError(409, "expected pictures of good parts, found none; take some in first")
    if not teacher.make(draft, who):
        raise _busy()
    return _state(request, client)


@router.post("/teach/trial", responses=_CHANGES)
def trial(request: Request, who: Engineer, client: Client, body: Chosen) -> TeachState:
    """Judge the last hundred recorded parts with a version, in the background."""
    service, teacher = service_of(request), _teacher(request)
    line = service.line(body.bundle)
    _known(teacher, line, body.version)
    if not teacher.try_version(line, body.version, tried_parts(service, line)):
        raise _busy()
    return _state(request, client)


@router.post("/teach/live", responses=_CHANGES)
def live(request: Request, who: Engineer, client: Client, body: Chosen) -> TeachState:
    """Let a version judge, from the next part on."""
    service, teacher = service_of(request), _teacher(request)
    line = service.line(body.bundle)
    _known(teacher, line, body.version)
    _refusing(lambda: teacher.go_live(line, body.version, who))
    return _state(request, client)


@router.post("/teach/back", responses=_CHANGES)
def back(request: Request, who: Engineer, client: Client, body: Chosen) -> TeachState:
    """Let the one judge that judged before; ``version`` says nothing here."""
    service, teacher = service_of(request), _teacher(request)
    line = service.line(body.bundle)
    _refusing(lambda: teacher.go_back(line, who))
    return _state(request, client)


def _refusing(change: Any) -> None:
    try:
        change()
    except BundleError as error:
        raise ProblemError(409, f"nothing was changed: {error}") from error
    except OSError as error:
        raise ProblemError(
            409,
            f"nothing was changed: expected to write which version judges, found {error}; make "
            "room on the disk and try again",
        ) from error


def _teacher(request: Request) -> Teacher:
    found = service_of(request).teacher
    if found is None:
        raise ProblemError(
            404,
            "expected a box that keeps its records in a folder, found another; start it with "
            "--store FOLDER to teach parts",
        )
    return found


def _mine(teacher: Teacher, client: str) -> Draft:
    draft = teacher.drafts.now
    if draft is None:
        raise ProblemError(409, "expected a part that is being taught, found none; name it first")
    if draft.client != client:
        raise ProblemError(
            409,
            f"expected nobody else to be teaching, found that {draft.who or 'somebody'} has been "
            f"teaching {draft.part} since {draft.begun}; wait, or discard it and begin anew",
        )
    return draft


def _idle(teacher: Teacher) -> None:
    job = teacher.jobs.now
    if job.running and job.kind == "make":
        raise _busy()


def _busy() -> ProblemError:
    return ProblemError(409, "expected nothing under way, found work that is; wait for its end")


def _no_picture(number: int) -> ProblemError:
    return ProblemError(
        404, f"expected the number of a picture in GET /v1/teach, found {number}; ask for it again"
    )


def _known(teacher: Teacher, line: Line, version: str) -> None:
    names = ["", *(name for name, _ in teacher.versions(line.name).all())]
    if version not in names:
        raise ProblemError(
            404, f"expected a version of {line.name} in GET /v1/teach, found {version}"
        )


def _added(
    request: Request,
    client: str,
    pictures: list[tuple[str, bytes]],
    said: list[str] | None = None,
) -> TeachState:
    teacher = _teacher(request)
    _idle(teacher)
    try:
        refused = teacher.drafts.add(pictures)
    except OSError as error:
        raise ProblemError(503, f"expected to keep the pictures, found {error}") from error
    teacher.look()
    return _state(request, client, [*(said or []), *refused])


def _state(request: Request, client: str, refused: list[str] | None = None) -> TeachState:
    return shown_state(service_of(request), _teacher(request), client, refused)
