"""Who may use the page: no network without a password, no other web page, no guesser.

Gradio answers every origin as if it were its own unless the page is on localhost, and a page on
localhost can be reached under any name that a foreign name server gives for 127.0.0.1 (DNS
rebinding). So a request that a browser sends for another page, or for another name, is refused
before it reaches anything. Programs that are no browsers send no ``Origin``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from runtime.errors import PageError

# The types of an ASGI application, https://asgi.readthedocs.io.
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

PASSWORD_VARIABLE = "LINESIDE_PASSWORD"
USER = "operator"
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
PAUSE_S = 1.0
PATIENCE_S = 10.0
_LOGIN = "/login"
_NO_FRAMES = (
    (b"content-security-policy", b"frame-ancestors 'self'"),
    (b"x-frame-options", b"SAMEORIGIN"),
)
_DEFAULT_PORTS = frozenset({80, 443})


def check_access(host: str, password: str | None, *, open_to_all: bool) -> None:
    """Refuse, with a PageError, to show the page to everyone who reaches the box."""
    if host in LOOPBACK or password or open_to_all:
        return
    raise PageError(
        f"--host {host}: expected a password in the environment variable {PASSWORD_VARIABLE}, "
        "found none, and everyone who reaches this machine could open the page; set it "
        f"(user '{USER}'), or add --no-password if the network is yours alone"
    )


class SameOrigin:
    """ASGI middleware that answers 403 to other origins.

    Args:
        app: what it guards.
        loopback_only: also refuse names that do not mean this machine.
    """

    def __init__(self, app: App, loopback_only: bool) -> None:
        self._app = app
        self._loopback_only = loopback_only

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Hand a request on, or refuse it."""
        if scope["type"] == "http":
            headers = {key: value.decode("latin-1") for key, value in reversed(scope["headers"])}
            refused = refusal(headers.get(b"host", ""), headers.get(b"origin"), self._loopback_only)
            if refused is not None:
                await _answer(send, 403, refused)
                return
        await self._app(scope, receive, partial(_send_unframed, send))


async def _send_unframed(send: Send, message: Message) -> None:
    """Forbid other pages to lay this one in a frame, under a click meant for something else."""
    if message["type"] == "http.response.start":
        message = {**message, "headers": [*message.get("headers", []), *_NO_FRAMES]}
    await send(message)


def refusal(host: str, origin: str | None, loopback_only: bool) -> str | None:
    """Why a request is refused; None if it is not.

    Args:
        host: its ``Host`` header.
        origin: its ``Origin`` header, if it has one.
        loopback_only: whether only names of this machine are served.
    """
    asked = _address(f"//{host}")
    if loopback_only and (asked is None or asked[0] not in LOOPBACK):
        return (
            f"expected a name of this machine, found {host}; to show the page under another name: "
            "--no-password"
        )
    if origin is not None and (asked is None or _address(origin) != asked):
        return (
            f"expected a request of {host}, found one of {origin}; a proxy in front of the page "
            "must pass Host on"
        )
    return None


def _address(url: str) -> tuple[str, int | None] | None:
    """Host and port, None for a protocol's own: a proxy with TLS changes the protocol."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if not parts.hostname:
        return None
    return parts.hostname, None if port in _DEFAULT_PORTS else port


class SlowLogin:
    """ASGI middleware that makes a wrong password cost time.

    The answer itself comes at once; what waits is the next attempt from the same address. An
    operator who mistypes notices a second at most, and one at another box nothing.

    Args:
        app: what it guards; it answers 4xx to a wrong password.
        pause_s: seconds that the address's next attempt waits after a wrong one.
        patience_s: seconds after which a form that has not arrived loses the address's turn.
    """

    def __init__(self, app: App, pause_s: float = PAUSE_S, patience_s: float = PATIENCE_S) -> None:
        self._app = app
        self._pause_s = pause_s
        self._patience_s = patience_s
        # An address is forgotten once nobody of it waits.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Hand a request on, an attempt to log in when it is its turn."""
        if scope["type"] != "http" or not scope["path"].rstrip("/").endswith(_LOGIN):
            await self._app(scope, receive, send)
            return
        status = 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        address = (scope.get("client") or ("", 0))[0]
        async with self._turns.setdefault(address, asyncio.Lock()):
            try:
                async with asyncio.timeout(self._patience_s):
                    await self._app(scope, receive, watched)
            except TimeoutError:
                if not status:
                    await _answer(watched, 408, "expected a password, found none; send it again")
            if status >= 400:
                await asyncio.sleep(self._pause_s)


async def _answer(send: Send, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
