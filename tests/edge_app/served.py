"""The box's server with a client, on a tiny bundle: real HTTP on a free port."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import numpy.typing as npt

from edge_app.api.application import Access, build_application, build_service
from edge_app.line import Line, open_memory
from edge_app.page.choice import Station
from edge_app.serving import listening, running
from runtime.engines.base import Arrays, FakeEngine
from runtime.inspector import Inspector
from tests.edge_app.tiny_bundle import CELLS, LENGTH


def picture(level: int, kind: str = ".png", side: int = 64) -> bytes:
    """A grey part with a corner of another level, whose raw score is what lies between."""
    image = np.full((side, side, 3), 128, np.uint8)
    image[: side // 4, : side // 4] = level
    return cv2.imencode(kind, image)[1].tobytes()


# A client reads the machine's certificates when it is made, which takes as long as ten requests.
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def client_of(url: str, **options: Any) -> httpx.Client:
    """A client that asks no proxy of the network."""
    return httpx.Client(base_url=url, trust_env=False, timeout=60, verify=_NO_TLS, **options)


@contextmanager
def api_served(
    station: Station, access: Access | None = None, **options: Any
) -> Iterator[httpx.Client]:
    """The application of a station without its page."""
    application = build_application(build_service(station, **options), access or Access())
    with (
        listening("127.0.0.1", 0) as taken,
        running(application, taken),
        client_of(f"http://127.0.0.1:{taken.getsockname()[1]}/") as client,
    ):
        yield client


@contextmanager
def station_of(
    *engines: tuple[Path, FakeEngine | str], store: str = "memory:", isolate: bool = False
) -> Iterator[Station]:
    """A station on engines that a test makes."""
    station = Station()
    with ExitStack() as stack:
        for bundle, engine in engines:
            inspector = stack.enter_context(Inspector(bundle, engine=engine, isolate=isolate))
            memory = stack.enter_context(open_memory(inspector, store, later=True))
            station.lines[bundle.name] = Line(inspector, memory, bundle.name)
        yield station


def outputs(score: float) -> Arrays:
    """What a graph gives out for a part of a score."""
    embedding: npt.NDArray[np.float32] = np.ones((1, LENGTH), np.float32)
    return {
        "pred_score": np.array([score], np.float32),
        "anomaly_map": np.full((1, 1, CELLS, CELLS), score, np.float32),
        "embedding": embedding / np.float32(np.sqrt(LENGTH)),
    }
