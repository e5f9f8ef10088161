"""What HTTP costs: `POST /v1/inspect` beside the library, and N clients for a time.

    python -m benchmarks.http tile-patchcore
    python -m benchmarks.http tile-patchcore --clients 20 --minutes 5

The server is a process of its own, ``lineside app``. Library and HTTP take turns on the same JPEG,
so that a busy machine slows both. The client is Python's own ``http.client`` on one connection:
what a line's program would use, with little of its own to add. What is left out of a verdict over
HTTP: records, neighbours, heat map.

With clients each sends its own pictures as fast as answers come, waits out a 503, and checks that
the answer is that of its picture. Memory is the server's, at the start and at the end.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import cv2
import numpy as np

from runtime.bundle.folder import Bundle
from runtime.inspector import Inspector

SIDE = 512
# Different pictures of a client.
PICTURES = 8
_WARM_UP = 20
_MEMORY = Path("/proc")


@dataclass
class Tally:
    """What one client saw."""

    milliseconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: int = 0
    errors: list[str] = field(default_factory=list)


class Client:
    """One connection to the server."""

    def __init__(self, url: str) -> None:
        self._address = str(urlsplit(url).netloc)
        self._connection = http.client.HTTPConnection(self._address, timeout=60)

    def inspect(self, content: bytes, name: str = "part.jpg") -> tuple[int, dict[str, Any]]:
        """Status and body of an answer."""
        headers = {"Content-Type": "image/jpeg"}
        self._connection.request("POST", f"/v1/inspect?name={name}", content, headers)
        answer = self._connection.getresponse()
        return answer.status, json.loads(answer.read())


@click.command(help=__doc__)
@click.argument("bundle", type=click.Path(path_type=Path, exists=True))
@click.option("--rounds", default=300, show_default=True, help="Turns of library and HTTP.")
@click.option("--clients", default=0, help="Clients at once, after the turns.")
@click.option("--minutes", default=5.0, show_default=True, help="How long the clients send.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def main(bundle: Path, rounds: int, clients: int, minutes: float, as_json: bool) -> None:
    """Measure and print."""
    with served(bundle) as (url, process):
        rows = [latency(bundle, url, rounds)]
        if clients:
            rows.append(load(url, process.pid, clients, 60.0 * minutes))
    for row in rows:
        click.echo(json.dumps(row) if as_json else "  ".join(f"{k} {v}" for k, v in row.items()))


def part(seed: int) -> bytes:
    """A JPEG of 512 x 512 with the detail of a photograph: noise of several sizes."""
    rng = np.random.default_rng(seed)
    image = np.zeros((SIDE, SIDE, 3), np.float32)
    for cells in (8, 32, 128, 512):
        noise = rng.normal(0.0, 14.0, (cells, cells, 3)).astype(np.float32)
        image += cv2.resize(noise, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    picture = np.clip(image + 128.0, 0, 255).astype(np.uint8)
    return bytes(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())


@contextmanager
def served(bundle: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """``lineside app`` in a process of its own, its store thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-P", "-m", "lineside", "app", str(bundle)]
        process = subprocess.Popen(
            [*command, "--store", str(Path(folder) / "store"), "--port", "0"],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            url = process.stdout.readline().strip() if process.stdout else ""
            if not url.startswith("http"):
                raise SystemExit("expected the server's address, found none")
            yield url, process
        finally:
            process.terminate()
            process.wait(60)


def latency(bundle: Path, url: str, rounds: int) -> dict[str, Any]:
    """Milliseconds from the JPEG to the verdict, library and HTTP in turns."""
    content = part(0)
    client = Client(url)
    library: list[float] = []
    over_http: list[float] = []
    with Bundle.open(bundle) as opened, Inspector(opened) as inspector:
        for number in range(_WARM_UP + rounds):
            begin = time.perf_counter()
            prediction = inspector.inspect(content)
            middle = time.perf_counter()
            status, answer = client.inspect(content)
            end = time.perf_counter()
            if status != 200 or answer["inspections"][0]["raw_score"] != prediction.pred_score:
                raise SystemExit(f"expected the library's own score, found {answer}")
            if number >= _WARM_UP:
                library.append(1000.0 * (middle - begin))
                over_http.append(1000.0 * (end - middle))
    return {
        "measured": "latency",
        "jpeg_bytes": len(content),
        "rounds": rounds,
        **_percentiles("library", library),
        **_percentiles("http", over_http),
        "added_p50_ms": round(float(np.median(over_http) - np.median(library)), 2),
    }


def load(url: str, server: int, clients: int, seconds: float) -> dict[str, Any]:
    """Clients that send as fast as answers come."""
    before = _rss_mib(server)
    tallies = [Tally() for _ in range(clients)]
    expected: dict[str, float] = {}
    for number in range(clients * PICTURES):
        status, answer = Client(url).inspect(part(number), f"{number}.jpg")
        expected[f"{number}.jpg"] = answer["inspections"][0]["raw_score"] if status == 200 else 0.0
    # What is expected took its own time.
    ends = time.monotonic() + seconds

    def work(place: int) -> None:
        pictures = {f"{n}.jpg": part(n) for n in range(place * PICTURES, (place + 1) * PICTURES)}
        tally, client = tallies[place], Client(url)
        while time.monotonic() < ends:
            for name, content in pictures.items():
                _once(client, tally, name, content, expected[name])

    threads = [threading.Thread(target=work, args=(place,)) for place in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statuses = sum((tally.statuses for tally in tallies), Counter[int]())
    milliseconds = [value for tally in tallies for value in tally.milliseconds]
    return {
        "measured": "load",
        "clients": clients,
        "seconds": round(seconds),
        "verdicts": statuses[200],
        "per_second": round(statuses[200] / seconds, 1),
        **_percentiles("http", milliseconds),
        "overloaded": statuses[503],
        "errors": sum(len(tally.errors) for tally in tallies)
        + sum(count for status, count in statuses.items() if status not in (200, 503)),
        "mixed_up": sum(tally.wrong for tally in tallies),
        "rss_mib_before": before,
        "rss_mib_after": _rss_mib(server),
    }


def _once(client: Client, tally: Tally, name: str, content: bytes, expected: float) -> None:
    begin = time.perf_counter()
    try:
        status, answer = client.inspect(content, name)
    except (OSError, http.client.HTTPException, ValueError) as error:
        tally.errors.append(str(error))
        return
    tally.statuses[status] += 1
    if status == 200:
        tally.milliseconds.append(1000.0 * (time.perf_counter() - begin))
        found = answer["inspections"][0]
        tally.wrong += (found["name"], found["raw_score"]) != (name, expected)
    elif status == 503:
        time.sleep(0.1)


def _percentiles(name: str, values: list[float]) -> dict[str, float]:
    found = np.percentile(values, [50, 95, 99]) if values else [float("nan")] * 3
    pairs = zip((50, 95, 99), found, strict=True)
    return {f"{name}_p{share}_ms": round(float(value), 2) for share, value in pairs}


def _rss_mib(process: int) -> int | None:
    """Resident memory of a process; None where the system does not tell it."""
    try:
        pages = int((_MEMORY / str(process) / "statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20


if __name__ == "__main__":
    main()
