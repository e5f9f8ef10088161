"""A wrong password costs time: that of its address, and that of the user it was tried on."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import AsyncExitStack
from weakref import WeakValueDictionary

from starlette.exceptions import HTTPException
from starlette.requests import Request

from edge_app.access.origin import App, Message, Receive, Send, answer_text

PAUSE_S = 1.0
PATIENCE_S = 10.0
# A user's name and password take up less.
_MOST_BYTES = 16_384
# Addresses from which a user has come in, kept so that guessers elsewhere do not keep him out.
_MOST_KNOWN = 1_000
_LOGIN = "/login"


class SlowLogin:
    """ASGI middleware that makes a wrong password cost time.

    The answer itself comes at once; what waits is the next attempt from the same address, and the
    next on the same user from whichever address. An operator who mistypes notices a second at most;
    one at a box from which he has come in before waits for nobody else's attempts.

    Args:
        app: what it guards; it answers 4xx to a wrong password.
        pause_s: seconds that the next attempt waits after a wrong one.
        patience_s: seconds after which a form that has not arrived loses the address's turn.
    """

    def __init__(self, app: App, pause_s: float = PAUSE_S, patience_s: float = PATIENCE_S) -> None:
        self._app = app
        self._pause_s = pause_s
        self._patience_s = patience_s
        # Whatever nobody waits for is forgotten.
        self._turns: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Hand a request on, an attempt to log in when it is its turn."""
        if scope["type"] != "http" or not scope["path"].rstrip("/").endswith(_LOGIN):
            await self._app(scope, receive, send)
            return
        address = (scope.get("client") or ("", 0))[0]
        async with self._turns.setdefault(("address", address), asyncio.Lock()):
            try:
                async with asyncio.timeout(self._patience_s):
                    body = await _whole(receive)
            except TimeoutError:
                await answer_text(send, 408, "expected a password, found none; send it again")
                await asyncio.sleep(self._pause_s)
                return
            if body is None:
                await answer_text(send, 413, "expected a name and a password, found far more")
                await asyncio.sleep(self._pause_s)
                return
            user = await _user(scope, body)
            async with AsyncExitStack() as turn:
                if user and (address, user) not in self._known:
                    lock = self._turns.setdefault(("user", user), asyncio.Lock())
                    await turn.enter_async_context(lock)
                status = await self._attempt(scope, body, send)
                if status >= 400:
                    self._known.pop((address, user), None)
                    await asyncio.sleep(self._pause_s)
                elif user:
                    self._known[address, user] = None
                    while len(self._known) > _MOST_KNOWN:
                        self._known.popitem(last=False)

    async def _attempt(self, scope: Message, body: bytes, send: Send) -> int:
        """Hand the attempt on; its status."""
        status = 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            async with asyncio.timeout(self._patience_s):
                await self._app(scope, _replayed(body), watched)
        except TimeoutError:
            if not status:
                await answer_text(watched, 408, "expected an answer, found none; send it again")
        return status


async def _whole(receive: Receive) -> bytes | None:
    """The body; None if it is too large for a login."""
    body = b""
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if len(body) > _MOST_BYTES:
            return None
        if not message.get("more_body"):
            return body


def _replayed(body: bytes) -> Receive:
    sent = False

    async def receive() -> Message:
        nonlocal sent
        if sent:
            return {"type": "http.disconnect"}
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


async def _user(scope: Message, body: bytes) -> str:
    """The user that a form names; ``""`` where it is none."""
    try:
        async with Request({**scope}, _replayed(body)).form(max_files=1, max_fields=20) as form:
            name = form.get("username")
    except (HTTPException, ValueError, KeyError):
        return ""
    return name.strip() if isinstance(name, str) else ""
