"""The API as a parser of bodies: any status below 500 is an answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from starlette.testclient import TestClient

from edge_app.api.application import Access, build_application, build_service
from edge_app.page.station import open_station
from scripts.campaign.targets import Target, form_of


@contextmanager
def http_target(bundle: Path) -> Iterator[Target]:
    """``POST /v1/inspect`` and the words on a part, on a station in this process."""
    with open_station([bundle], "memory:") as station:
        application = build_application(build_service(station), Access())
        with TestClient(application, base_url="http://127.0.0.1") as client:
            yield _target(client)


def _target(client: TestClient) -> Target:
    image = np.random.default_rng(0).integers(100, 156, (32, 32, 3), dtype=np.uint8)
    picture = cv2.imencode(".png", image)[1].tobytes()
    form, kind = form_of(picture, picture)
    feedback = b'{"id": "5f0f8a3c-0c3a-5e0c-9a53-1b8f0d2f4b11", "word": "right", "by": "a"}'

    def run(data: bytes) -> None:
        if b"--edge" in data[:40]:
            answer = client.post("/v1/inspect", content=data, headers={"content-type": kind})
        elif data[:1] == b"{":
            headers = {"content-type": "application/json"}
            answer = client.post("/v1/feedback", content=data, headers=headers)
        else:
            answer = client.post("/v1/inspect", content=data)
        if answer.status_code >= 500:
            raise RuntimeError(f"status {answer.status_code}: {answer.text[:200]}")

    return Target("http", (picture, form, feedback), run)
