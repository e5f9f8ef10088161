"""A Qdrant server's REST interface over qdrant-client's own local mode, as far as we use it.

With QDRANT_URL a real server takes its place.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from qdrant_client import QdrantClient, models

SERVER = os.environ.get("QDRANT_URL", "")
VERSION = "1.17.0"


def _collection(client: QdrantClient, method: str, name: str, body: Any) -> Any:
    if method == "PUT":
        return client.create_collection(
            name, vectors_config=models.CreateCollection(**body).vectors
        )
    if method == "DELETE":
        return client.delete_collection(name)
    return client.get_collection(name)


def _points(client: QdrantClient, method: str, name: str, body: Any) -> Any:
    if method == "PUT":
        wanted = models.PointsList(**body)
        return client.upsert(name, wanted.points, update_mode=wanted.update_mode)
    asked = models.PointRequest(**body)
    return client.retrieve(
        name, asked.ids, with_payload=asked.with_payload, with_vectors=asked.with_vector
    )


def _scroll(client: QdrantClient, _: str, name: str, body: Any) -> Any:
    asked = models.ScrollRequest(**body)
    points, following = client.scroll(
        name,
        scroll_filter=asked.filter,
        limit=asked.limit,
        offset=asked.offset,
        order_by=asked.order_by,
        with_payload=asked.with_payload,
        with_vectors=asked.with_vector,
    )
    return {
        "points": [point.model_dump(mode="json") for point in points],
        "next_page_offset": following,
    }


def _payload(client: QdrantClient, _: str, name: str, body: Any) -> Any:
    asked = models.SetPayload(**body)
    return client.set_payload(name, asked.payload, points=asked.filter or asked.points)


def _without_payload(client: QdrantClient, _: str, name: str, body: Any) -> Any:
    asked = models.DeletePayload(**body)
    return client.delete_payload(name, asked.keys, points=asked.points)


def _batch(client: QdrantClient, _: str, name: str, body: Any) -> Any:
    return client.batch_update_points(name, models.UpdateOperations(**body).operations)


def _delete(client: QdrantClient, _: str, name: str, body: Any) -> Any:
    kind = models.PointIdsList if "points" in body else models.FilterSelector
    return client.delete(name, kind(**body))


def _count(client: QdrantClient, _: str, name: str, body: Any) -> Any:
    return client.count(name, count_filter=models.CountRequest(**body).filter, exact=True)


def _query(client: QdrantClient, _: str, name: str, body: Any) -> Any:
    asked = models.QueryRequest(**body)
    return client.query_points(
        name,
        query=asked.query,
        using=asked.using,
        query_filter=asked.filter,
        limit=asked.limit,
        with_payload=asked.with_payload,
    )


ROUTES: dict[str, Callable[[QdrantClient, str, str, Any], Any]] = {
    "": _collection,
    "/exists": lambda client, _, name, __: {"exists": client.collection_exists(name)},
    "/index": lambda *_: {"operation_id": 0, "status": "completed"},
    "/points": _points,
    "/points/scroll": _scroll,
    "/points/payload": _payload,
    "/points/payload/delete": _without_payload,
    "/points/batch": _batch,
    "/points/delete": _delete,
    "/points/count": _count,
    "/points/query": _query,
}


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value


def _answer(store: QdrantClient, path: str, method: str, body: Any) -> dict[str, Any]:
    if path == "/":
        return {"title": "qdrant - vector search engine", "version": VERSION}
    found = re.fullmatch(r"/collections/([^/]+)(.*)", path)
    if found is None:
        result: Any = store.get_collections()
    else:
        result = ROUTES[found[2]](store, method, found[1], body)
    return {"result": _plain(result), "status": "ok", "time": 0.0}


@contextmanager
def qdrant() -> Iterator[str]:
    """A server's address; it has no collection of ours."""
    if SERVER:
        client = QdrantClient(SERVER)
        for entry in client.get_collections().collections:
            if entry.name.startswith("lineside-"):
                client.delete_collection(entry.name)
        yield SERVER
        return
    store, lock = QdrantClient(":memory:"), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else {}
            path = urlsplit(self.path).path
            with lock:
                try:
                    status, answer = 200, _answer(store, path, self.command, body)
                except Exception as error:
                    # As the local mode says it of a collection.
                    status, answer = (
                        404 if "not found" in str(error) else 400,
                        {"status": {"error": f"{type(error).__name__}: {error}"}, "time": 0.0},
                    )
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
