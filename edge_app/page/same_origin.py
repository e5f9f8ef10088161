"""Only the page itself may talk to its server: other web pages in the operator's browser may not.

Gradio answers every origin as if it were its own unless the page is on localhost, and a page on
localhost can be reached under any name that a foreign name server gives for 127.0.0.1 (DNS
rebinding). So a request that a browser sends for another page, or for another name, is refused
before it reaches anything. Programs that are no browsers send no ``Origin``.
"""

from __future__ import annotations

from functools import partial
from urllib.parse import urlsplit

from edge_app.page.asgi import App, Message, Receive, Send

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_NO_FRAMES = (
    (b"content-security-policy", b"frame-ancestors 'self'"),
    (b"x-frame-options", b"SAMEORIGIN"),
)
_DEFAULT_PORTS = frozenset({80, 443})


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
            refused = refusal(
                _header(scope, b"host") or "", _header(scope, b"origin"), self._loopback_only
            )
            if refused is not None:
                headers = [(b"content-type", b"text/plain; charset=utf-8")]
                await send({"type": "http.response.start", "status": 403, "headers": headers})
                await send({"type": "http.response.body", "body": refused.encode()})
                return
        await self._app(scope, receive, partial(_send_unframed, send))


async def _send_unframed(send: Send, message: Message) -> None:
    """Add to every answer that no other page may lay this one in a frame, under a click that is meant for something else."""
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
        return f"expected a name of this machine, found {host}; to show the page under another name: --no-password"
    if origin is not None and (asked is None or _address(origin) != asked):
        return f"expected a request of {host}, found one of {origin}; a proxy in front of the page must pass Host on"
    return None


def _header(scope: Message, name: bytes) -> str | None:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), None)


def _address(url: str) -> tuple[str, int | None] | None:
    """Host and port, None for a protocol's own; a proxy with TLS changes the protocol on the way."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if not parts.hostname:
        return None
    return parts.hostname, None if port in _DEFAULT_PORTS else port
