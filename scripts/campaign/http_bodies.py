"""The API as a parser of bodies: any status below 500 is an answer."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from starlette.testclient import TestClient

from edge_app.api.application import Access, build_application, build_service
from edge_app.page.choice import open_station
from scripts.campaign.targets import Target, form_of


@contextmanager
def http_target(bundle: Path, work: Path) -> Iterator[Target]:
    """``POST /v1/inspect`` and the words on a part, on a station in this process.

    Args:
        bundle: that judges.
        work: folder for the records.
    """
    with (
        tempfile.TemporaryDirectory(dir=work) as records,
        open_station([bundle], records) as station,
    ):
        application = build_application(build_service(station), Access())
        with TestClient(application, base_url="http://127.0.0.1") as client:
            yield _target(client)


def _target(client: TestClient) -> Target:
    image = np.random.default_rng(0).integers(100, 156, (32, 32, 3), dtype=np.uint8)
    picture = cv2.imencode(".png", image)[1].tobytes()
    form, kind = form_of(picture, picture)
    feedback = b'{"word": "right", "defect_type": "crack", "note": "seen twice"}'
    kept = client.post("/v1/inspect?record=true", content=picture).json()
    part = kept["inspections"][0]["part_id"]

    def run(data: bytes) -> bool:
        if b"--edge" in data[:40]:
            answer = client.post("/v1/inspect", content=data, headers={"content-type": kind})
        elif data[:1] == b"{":
            headers = {"content-type": "application/json"}
            answer = client.post(f"/v1/parts/{part}/feedback", content=data, headers=headers)
        else:
            answer = client.post("/v1/inspect", content=data)
        if answer.status_code >= 500:
            raise RuntimeError(f"status {answer.status_code}: {answer.text[:200]}")
        return bool(answer.status_code >= 400)

    return Target("http", (picture, form, feedback), run, share=4)
