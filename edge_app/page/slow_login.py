"""A wrong password costs time, so that nobody gets in by trying many.

The answer itself comes at once; what waits is the next attempt from the same address. An operator
who mistypes notices a second at most, and one at another box nothing.
"""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary

from edge_app.page.asgi import App, Message, Receive, Send

PAUSE_S = 1.0
PATIENCE_S = 10.0
_PATH = "/login"


class SlowLogin:
    """ASGI middleware that takes attempts to log in one after the other, with a pause after each that failed.

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
        if scope["type"] != "http" or not scope["path"].rstrip("/").endswith(_PATH):
            await self._app(scope, receive, send)
            return
        status = 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        address = (scope.get("client") or ("", 0))[0]
        turn = self._turns.setdefault(address, asyncio.Lock())
        async with turn:
            try:
                async with asyncio.timeout(self._patience_s):
                    await self._app(scope, receive, watched)
            except TimeoutError:
                if not status:
                    await watched({"type": "http.response.start", "status": 408, "headers": []})
                    await watched({"type": "http.response.body", "body": b""})
            if status >= 400:
                await asyncio.sleep(self._pause_s)
