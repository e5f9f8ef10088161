"""The operator's screens: plain pages beside Gradio's, fed by the API.

Gradio's blocks cannot hold a layout that never moves, so these are three files each and no build.
The pages hold nothing that is secret: whatever they show comes from ``/v1``, which asks who it is.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from edge_app.access.login import fill
from edge_app.api.problems import ProblemError
from edge_app.api.service import service_of

router = APIRouter(include_in_schema=False)
ASSETS = Path(__file__).parent.parent / "assets"
_KINDS = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}
# What a page asks for, by name.
_FILES = {path.name: path for path in ASSETS.rglob("*") if path.suffix in _KINDS}
_FRESH = {"Cache-Control": "no-cache"}


@router.get("/line")
def line(request: Request) -> Response:
    """The line as it runs; where none is watched, the page for single pictures."""
    service = service_of(request)
    if service.board is None:
        return RedirectResponse(f"{service.below.removesuffix('/v1')}/")
    return _page(request, "line.html")


@router.get("/history")
@router.get("/parts/{part_id}")
def history(request: Request) -> Response:
    """Every recorded part, and each at an address of its own."""
    return _page(request, "history.html")


@router.get("/inspect")
def inspect(request: Request) -> Response:
    """A picture at a time, from files, the clipboard, a webcam or the samples."""
    return _page(request, "inspect.html")


@router.get("/teach")
def teach(request: Request) -> Response:
    """A new part at the box."""
    return _page(request, "teach.html")


@router.get("/model")
@router.get("/batch")
def desk(request: Request) -> Response:
    """A bundle's card with its thresholds; a folder or ZIP judged at once."""
    return _page(request, "desk.html", request.url.path.rpartition("/")[2])


@router.get("/screen/{name}")
def asset(name: str) -> Response:
    """A style sheet, a script, the strings, or the icon."""
    if name not in _FILES:
        raise ProblemError(404, f"expected one of {', '.join(sorted(_FILES))}, found {name[:60]}")
    path = _FILES[name]
    return Response(path.read_bytes(), media_type=_KINDS[path.suffix], headers=_FRESH)


def _page(request: Request, name: str, page: str = "") -> Response:
    service = service_of(request)
    station = "" if service.board is None else "yes"
    text = (ASSETS / "pages" / name).read_text(encoding="utf-8").replace("{page}", page)
    text = fill(text, service.below.removesuffix("/v1"), request.app.state.door, station)
    return Response(text, media_type="text/html", headers=_FRESH)
