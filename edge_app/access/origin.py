"""Who may use the page: no network without a password, no other web page, no guesser.

Gradio answers every origin as if it were its own unless the page is on localhost, and a page on
localhost can be reached under any name that a foreign name server gives for 127.0.0.1 (DNS
rebinding). So a request that a browser sends for another page, or for another name, is refused
before it reaches anything. Programs that are no browsers send no ``Origin``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from runtime.errors import PageError

# The types of an ASGI application, https://asgi.readthedocs.io.
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

PASSWORD_VARIABLE = "LINESIDE_PASSWORD"
USER = "operator"
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
# Gradio's page is made by scripts and styles within it, and compiles some of them itself.
_PAGE_POLICY = (
    b"default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    b"style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    b"media-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; "
    b"form-action 'self'; frame-ancestors 'self'"
)
_DATA_POLICY = b"default-src 'none'; frame-ancestors 'none'"
_GUARDS = (
    (b"x-frame-options", b"SAMEORIGIN"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
)
_DEFAULT_PORTS = frozenset({80, 443})


def check_access(
    host: str, password: str | None, *, open_to_all: bool, has_users: bool = False
) -> None:
    """Refuse, with a PageError, to show the page to everyone who reaches the box."""
    if host in LOOPBACK or password or has_users or open_to_all:
        return
    raise PageError(
        f"--host {host}: expected a password in the environment variable {PASSWORD_VARIABLE}, "
        "found none, and everyone who reaches this machine could open the page; set it "
        f"(user '{USER}'), name people with --users-file, or add --no-password if the "
        "network is yours alone"
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
                await answer_text(partial(_send_guarded, send), 403, refused)
                return
        await self._app(scope, receive, partial(_send_guarded, send))


async def _send_guarded(send: Send, message: Message) -> None:
    """Forbid what no answer of ours needs; a page may load what lies on this server alone."""
    if message["type"] == "http.response.start":
        headers = message.get("headers", [])
        kind = next((value for name, value in headers if name.lower() == b"content-type"), b"")
        policy = _PAGE_POLICY if kind.startswith(b"text/html") else _DATA_POLICY
        guards = [(b"content-security-policy", policy), *_GUARDS]
        message = {**message, "headers": [*headers, *guards]}
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


async def answer_text(send: Send, status: int, text: str) -> None:
    """Answer a request with one sentence."""
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
