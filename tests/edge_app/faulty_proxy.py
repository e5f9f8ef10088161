"""An HTTP proxy that does to requests what a factory's network does, by a script."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

PASS = "pass"
LOSE_REQUEST = "lose the request"
LOSE_ANSWER = "lose the answer"
BUSY = "answer 503"
DELAY = "delay"
TWICE = "deliver twice"
LATE = "lose the answer and deliver once more, after the next requests"
FAULTS = (LOSE_REQUEST, LOSE_ANSWER, BUSY, DELAY, TWICE, LATE)
LATE_BY = 3
Request = tuple[str, str, bytes, dict[str, str]]


@dataclass
class Proxy:
    """What is known of a running proxy.

    Attributes:
        url: where clients connect.
        script: from the number of a request (from 0), its method and path to what happens to it.
        log: what happened: (what, method and path).
    """

    url: str
    target: str
    script: Callable[[int, str], str]
    log: list[tuple[str, str]] = field(default_factory=list)
    waiting: list[tuple[int, Request]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def forward(self, request: Request) -> tuple[int, bytes]:
        """Deliver a request; returns status and body of the answer."""
        method, path, body, headers = request
        connection = http.client.HTTPConnection(urlsplit(self.target).netloc, timeout=10)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def deliver_late(self, number: int | None = None) -> None:
        """Deliver what was held back and is due; all of it without a number."""
        with self.lock:
            due = [entry for entry in self.waiting if number is None or entry[0] <= number]
            self.waiting = [entry for entry in self.waiting if entry not in due]
        for _, request in due:
            self.forward(request)

    def treat(self, request: Request) -> tuple[int, bytes] | None:
        """What the client gets for a request; None to break the connection."""
        with self.lock:
            number, line = len(self.log), f"{request[0]} {request[1]}"
            what = self.script(number, line)
            self.log.append((what, line))
            if what == LATE:
                self.waiting.append((number + LATE_BY, request))
        self.deliver_late(number)
        if what == LOSE_REQUEST:
            return None
        if what == BUSY:
            return 503, b"busy"
        if what == DELAY:
            time.sleep(0.05)
        if what == TWICE:
            self.forward(request)
        answer = self.forward(request)
        return None if what in (LOSE_ANSWER, LATE) else answer


@contextmanager
def proxied(target: str, script: Callable[[int, str], str]) -> Iterator[Proxy]:
    """Run a proxy in front of a server."""
    proxy = Proxy("", target, script)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {
                name: self.headers[name]
                for name in ("Content-Type", "api-key")
                if name in self.headers
            }
            answer = proxy.treat((self.command, self.path, body, headers))
            if answer is None:
                self.close_connection = True
                return
            self.send_response(answer[0])
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer[1])))
            self.end_headers()
            self.wfile.write(answer[1])

        do_PUT = do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    proxy.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
