"""Logging in and out: ``/login`` and ``/logout``, and who is asked before the page for pictures."""

from __future__ import annotations

from html import escape
from pathlib import Path

import anyio
from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from starlette.exceptions import HTTPException

from edge_app.access.door import Door
from edge_app.access.origin import App, Message, Receive, Send

router = APIRouter(include_in_schema=False)
_PAGE = Path(__file__).parent.parent / "assets" / "pages" / "login.html"


@router.get("/login")
@router.get("/login/")
def ask(request: Request) -> Response:
    """Where one logs in: the page for pictures asks."""
    return RedirectResponse(f"{_root(request)}/")


@router.post("/login")
@router.post("/login/")
async def log_in(request: Request) -> Response:
    """Log in with the fields ``username`` and ``password`` of a form; the answer sets a cookie."""
    door: Door = request.app.state.door
    try:
        async with request.form(max_files=0, max_fields=20) as form:
            name, password = str(form.get("username", "")), str(form.get("password", ""))
    except HTTPException:
        name = password = ""
    # The hash takes a while.
    secret = await anyio.to_thread.run_sync(door.sessions.log_in, name, password)
    if secret is None:
        return JSONResponse({"detail": "expected a user and the password, found others"}, 400)
    answer = JSONResponse({"success": True})
    answer.set_cookie(
        door.sessions.cookie,
        secret,
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )
    return answer


@router.get("/logout")
def log_out(request: Request) -> Response:
    """End this browser's session."""
    door: Door = request.app.state.door
    door.sessions.log_out(request.cookies)
    answer = RedirectResponse(f"{_root(request)}/")
    answer.delete_cookie(door.sessions.cookie)
    return answer


class AskFirst:
    """ASGI middleware that answers with the login where the page for pictures needs one.

    Everything else answers 401 by itself; only this page would answer with JSON.

    Args:
        app: what it guards.
        door: who may come in.
        root: path below which a proxy shows it all.
    """

    def __init__(self, app: App, door: Door, root: str) -> None:
        self._app, self._door = app, door
        text = _PAGE.read_text(encoding="utf-8")
        self._text = fill(text, root, door)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Hand a request on, or ask who it is."""
        if scope["type"] == "http" and scope["path"] == "/" and scope["method"] == "GET":
            request = Request({**scope})
            if self._door.guarded and self._door.sessions.visitor(request.cookies) is None:
                answer = HTMLResponse(self._text, headers={"Cache-Control": "no-store"})
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)


def fill(text: str, root: str, door: Door, station: str = "") -> str:
    """A screen's page with its places filled."""
    asked = door.sessions.asks if door.guarded else ""
    for name, value in (("root", root), ("login", asked), ("station", station)):
        text = text.replace(f"{{{name}}}", escape(value, quote=True))
    return text


def _root(request: Request) -> str:
    found: str = request.app.state.root
    return found
