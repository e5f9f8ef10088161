"""Servers that are away, slow, closed to us or something else: real sockets that misbehave."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from qdrant_client import QdrantClient, models

from edge_app.store import open_store
from edge_app.store.connect import API_KEY_VARIABLE, connect
from edge_app.store.remote import RemoteStore
from runtime.errors import StoreError
from tests.edge_app.points import BUNDLE, LENGTH, make_points


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(API_KEY_VARIABLE, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@contextmanager
def answering(status: int, body: bytes) -> Iterator[tuple[str, list[str]]]:
    """An HTTP server with one answer to everything; yields its address and the keys shown."""
    keys: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            keys.append(self.headers.get("api-key", ""))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_PUT = do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", keys
    finally:
        server.shutdown()
        server.server_close()


def open_at(location: str) -> None:
    open_store(location, bundle=BUNDLE, embedding_length=LENGTH).close()


def one_line(error: pytest.ExceptionInfo[StoreError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert "Traceback" not in text
    return text


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_nobody_there(scheme: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        location = f"{scheme}://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(StoreError) as error:
            open_at(location)
    text = one_line(error)
    assert location in text
    assert "check the address" in text


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_server_that_never_answers(scheme: str) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        start = time.monotonic()
        with pytest.raises(StoreError) as error:
            open_at(f"{scheme}://127.0.0.1:{silent.getsockname()[1]}")
        assert time.monotonic() - start < 15
    assert "within 5 s" in one_line(error)


@pytest.mark.parametrize("status", [401, 403])
def test_key_that_is_missing_or_wrong(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    with answering(status, b"Must provide an API key") as (location, keys):
        with pytest.raises(StoreError) as error:
            open_at(location)
        assert f"found no key ({status}); set the environment variable QDRANT_API_KEY" in one_line(
            error
        )
        monkeypatch.setenv(API_KEY_VARIABLE, "secret-key")
        with pytest.raises(StoreError) as error:
            open_at(location)
        text = one_line(error)
        assert "found a wrong key" in text
        assert "secret-key" not in text
        assert keys == ["", "secret-key"]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, b"not here"),
        (500, b"broken"),
        (200, b"<html>a router's start page</html>"),
        (200, b"{}"),
    ],
)
def test_server_that_is_no_healthy_qdrant(status: int, body: bytes) -> None:
    with answering(status, body) as (location, _):
        with pytest.raises(StoreError) as error:
            open_at(location)
        assert location in one_line(error)


@pytest.mark.parametrize("version", ["1.16.3", "0.11.0", "", "next"])
def test_a_server_that_is_too_old_is_refused(version: str) -> None:
    body = json.dumps({"title": "qdrant", "version": version}).encode()
    with answering(200, body) as (location, _), pytest.raises(StoreError) as error:
        open_at(location)
    assert f"of version 1.17 or newer, found {version or 'none'}; update" in one_line(error)


def test_key_over_plain_http_is_pointed_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "lineside")
    monkeypatch.setenv(API_KEY_VARIABLE, "secret-key")
    connect("http://box.example:6333").close()
    connect("http://localhost:6333").close()
    connect("https://box.example:6333").close()
    message = caplog.text
    assert message.count("travels unencrypted") == 1
    assert "secret-key" not in message


@pytest.mark.parametrize(
    "location",
    [
        "http://",
        "http://host:port",
        "http://host:99999",
        "http://host?color=red",
        "http://host?prefer_grpc=yes",
        "http://host?prefer_grpc=1&grpc_port=x",
        "http://user:key@host:6333",
        "grpc://",
        "http://[::1",
    ],
)
def test_urls_that_are_none(location: str) -> None:
    with pytest.raises(StoreError, match=r"expected http://HOST:6333"):
        connect(location)


def test_collection_with_other_vectors_is_refused() -> None:
    name = f"lineside-{BUNDLE[:16]}"
    for config, message in [
        (
            {"defect": models.VectorParams(size=LENGTH + 1, distance=models.Distance.COSINE)},
            "length 24 in .* found 25",
        ),
        ({"defect": models.VectorParams(size=LENGTH, distance=models.Distance.DOT)}, "cosine"),
        (
            {"other": models.VectorParams(size=LENGTH, distance=models.Distance.COSINE)},
            "cosine vector 'defect'",
        ),
        (
            models.VectorParams(size=LENGTH, distance=models.Distance.COSINE),
            "cosine vector 'defect'",
        ),
    ]:
        client = QdrantClient(":memory:")
        client.create_collection(name, vectors_config=config)
        with pytest.raises(StoreError, match=message):
            RemoteStore(client, bundle=BUNDLE, embedding_length=LENGTH)


def test_reading_never_makes_a_collection() -> None:
    client = QdrantClient(":memory:")
    with pytest.raises(
        StoreError, match=r"found no collection lineside-0123456789abcdef; type: lineside index"
    ):
        RemoteStore(client, bundle=BUNDLE, embedding_length=LENGTH, create=False)


def test_bundles_share_a_server_and_never_mix(tmp_path: object) -> None:
    path = str(tmp_path)
    other = "fedcba9876543210" * 4
    with RemoteStore(QdrantClient(path=path), bundle=BUNDLE, embedding_length=LENGTH) as store:
        store.upsert(make_points(5))
    with RemoteStore(QdrantClient(path=path), bundle=other, embedding_length=8) as store:
        store.upsert(make_points(7, length=8, bundle=other))
        assert store.count() == 7
    with RemoteStore(
        QdrantClient(path=path), bundle=BUNDLE, embedding_length=LENGTH, create=False
    ) as store:
        assert store.count() == 5


def test_more_points_than_one_request_holds() -> None:
    with RemoteStore(QdrantClient(":memory:"), bundle=BUNDLE, embedding_length=LENGTH) as store:
        store.upsert(make_points(1100))
        assert store.count() == 1100
