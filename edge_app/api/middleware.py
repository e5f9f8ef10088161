"""What stands before the routes of ``/v1``: a clock, and a limit on what is no picture."""

from __future__ import annotations

import logging
import re
import time
import uuid

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge_app.api import problems
from edge_app.api.metrics import Metrics
from edge_app.api.problems import REQUEST_ID, REQUEST_ID_KEY
from runtime.progress import about

log = logging.getLogger("lineside")

# What a word with a note takes up, several times over.
MOST_BYTES = 65_536
# It counts what it takes itself, once it is known who sends it.
_TAKES_PICTURES = "/inspect"
_GIVEN_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class SmallBodies:
    """ASGI middleware that takes no body above :data:`MOST_BYTES`, but where pictures are taken.

    Args:
        app: what it guards.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on, or refuse it."""
        if scope["type"] != "http" or scope["path"].endswith(_TAKES_PICTURES):
            await self._app(scope, receive, send)
            return
        left = MOST_BYTES

        async def counted() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                # Who reads no more is answered as if the sender had gone.
                return {"type": "http.disconnect"}
            return message

        declared = dict(scope["headers"]).get(b"content-length", b"")
        if declared.isdigit() and int(declared) > MOST_BYTES:
            said = f"expected a body of at most {MOST_BYTES} bytes, found {declared.decode()}"
            refused = problems.answer(problems.problem(413, f"{said}; shorten the note"))
            await refused(scope, receive, send)
            return
        await self._app(scope, counted, send)


class Timed:
    """ASGI middleware that counts requests by route and status, and gives each an id.

    A client's own X-Request-ID is kept where it is one word; the answer carries it, and so does
    every log line of the request.

    Args:
        app: what it watches.
        metrics: who is told.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin = time.perf_counter()
        code = 500
        given = dict(scope["headers"]).get(REQUEST_ID.lower().encode(), b"")
        known = given.decode() if _GIVEN_ID.fullmatch(given) else uuid.uuid4().hex
        scope[REQUEST_ID_KEY] = known

        async def watched(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = known
            await send(message)

        with about(request=known):
            try:
                await self._app(scope, receive, watched)
            finally:
                route = getattr(scope.get("route"), "path", "none")
                seconds = time.perf_counter() - begin
                self._metrics.answered(scope["method"], route, code, seconds)
                said = f"{scope['method']} {route} {code} in {1000.0 * seconds:.1f} ms"
                log.debug(said, extra={"fields": {"status": code, "seconds": round(seconds, 6)}})
