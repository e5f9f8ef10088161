"""More clients than a station has room for: what each of them is answered, and what it costs."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import httpx
import numpy as np

from edge_app.api.service import MOST_REQUESTS

MOST_GROWTH = 0.02
_SCREENS = ("line", "history", "v1/bundles", "v1/parts", "healthz", "")
_PAUSE_S = 0.2
_PATIENCE_S = 300.0
_COMMAND = (sys.executable, "-c", "from runtime.cli import main; main()", "--quiet", "app")


@dataclass(frozen=True)
class Loaded:
    """What came of it.

    Attributes:
        clients: at once.
        seconds: it took.
        answered: verdicts.
        overloads: answers 503, all with Retry-After.
        late: requests without an answer within five minutes.
        reconnected: connections that the server had closed while they were idle.
        wrong: answers that were another client's, or none; each in words.
        queue: most requests in work or waiting, and room for how many.
        growth: of the server's memory since the first tenth, as a share.
        descriptors: that it has opened since then and not closed.
        p50_ms: of a verdict, as a client sees it.
        p99_ms: the same.
    """

    clients: int
    seconds: float
    answered: int
    overloads: int
    late: int
    reconnected: int
    wrong: list[str]
    queue: tuple[int, int]
    growth: float
    descriptors: int
    p50_ms: float
    p99_ms: float

    @property
    def holds(self) -> bool:
        """Nobody got another's verdict, and memory, queue and descriptors are bounded."""
        steady = self.growth < MOST_GROWTH and self.descriptors <= self.clients
        return steady and not self.wrong and self.queue[0] <= self.queue[1] and self.answered > 0


class _Client:
    """One that sends its own picture again and again."""

    def __init__(self, url: str, number: int) -> None:
        self._http = client_of(url)
        self.name = f"client-{number}"
        self.picture = picture_of(number)
        self.expected: tuple[str, float] | None = None
        self.counts: Counter[str] = Counter()
        self.times: list[float] = []
        self.wrong: list[str] = []

    def ask(self) -> float:
        """Send it once; how many seconds to wait before the next time."""
        begin = time.perf_counter()
        asked = {"name": self.name}
        try:
            answer = self._http.post("v1/inspect", params=asked, content=self.picture)
        except httpx.TimeoutException:
            self.counts["late"] += 1
            return 0.0
        except httpx.RemoteProtocolError:
            # The server has closed a connection that was idle for long, as it may.
            self.counts["reconnected"] += 1
            return 0.0
        took = time.perf_counter() - begin
        if answer.status_code == 503:
            self.counts["overloads"] += 1
            if "retry-after" not in answer.headers:
                self.wrong.append(f"{self.name}: 503 without Retry-After")
            return float(answer.headers.get("retry-after", 1))
        if answer.status_code != 200:
            self.wrong.append(f"{self.name}: {answer.status_code} {answer.text[:200]}")
            return 1.0
        (said,) = answer.json()["inspections"]
        found = (said["verdict"], said["raw_score"])
        self.expected = self.expected or found
        if said["name"] != self.name or found != self.expected:
            self.wrong.append(f"{self.name}: {said['name']} {found}, expected {self.expected}")
        self.counts["answered"] += 1
        self.times.append(took)
        return 0.0

    def until(self, end: threading.Event) -> None:
        """Send it until the end."""
        try:
            while not end.is_set():
                end.wait(self.ask())
        except Exception as error:
            self.wrong.append(f"{self.name}: {type(error).__name__}: {error}")
        finally:
            self._http.close()


def load(bundle: Path, seconds: float, clients: int = 2 * MOST_REQUESTS) -> Loaded:
    """Load a server of its own.

    Args:
        bundle: path of a bundle whose scores differ between pictures.
        seconds: so long.
        clients: at once; each has a picture of its own.
    """
    with _served(bundle) as (url, process):
        several = [_Client(url, number) for number in range(clients)]
        for one in several:
            # Alone, so that nobody else's verdict can come.
            one.ask()
        if len({one.expected for one in several}) < clients:
            raise SystemExit(f"{bundle}: expected another score for every picture")
        end, begin = threading.Event(), time.monotonic()
        threads = [threading.Thread(target=one.until, args=(end,)) for one in several]
        for thread in threads:
            thread.start()
        try:
            queue, before, after = _watched(url, process.pid, begin, seconds)
        finally:
            end.set()
            for thread in threads:
                thread.join()
    times = [1000.0 * one for client in several for one in client.times]
    p50, p99 = np.percentile(times, [50, 99])
    return Loaded(
        clients,
        time.monotonic() - begin,
        sum(one.counts["answered"] for one in several),
        sum(one.counts["overloads"] for one in several),
        sum(one.counts["late"] for one in several),
        sum(one.counts["reconnected"] for one in several),
        [said for one in several for said in one.wrong],
        queue,
        after[0] / before[0] - 1,
        after[1] - before[1],
        float(p50),
        float(p99),
    )


def _watched(
    url: str, process: int, begin: float, seconds: float
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """The longest queue and its room; memory and descriptors after a tenth and at the end."""
    most, room, before = 0, 0, None
    with client_of(url) as client:
        while (spent := time.monotonic() - begin) < seconds:
            if before is None and spent > seconds / 10:
                before = now_of(process)
            said = client.get("metrics").text.splitlines()
            found = {line.split()[0]: line.split()[-1] for line in said if line[:1] != "#"}
            most = max(most, int(float(found["lineside_queue_requests"])))
            room = int(float(found["lineside_queue_capacity"]))
            for screen in _SCREENS:
                # People look at it meanwhile.
                client.get(screen).raise_for_status()
            time.sleep(_PAUSE_S)
    end = now_of(process)
    return (most, room), before or end, end


@contextmanager
def _served(bundle: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    with tempfile.TemporaryDirectory(prefix="load-") as folder:
        process = subprocess.Popen(
            [*_COMMAND, str(bundle), "--store", f"{folder}/records", "--port", "0"],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip(), process
        finally:
            process.terminate()
            process.wait(60)


def client_of(url: str) -> httpx.Client:
    """A client that asks no proxy of the network."""
    # Plain HTTP: reading the system's certificates for each client would take seconds.
    return httpx.Client(
        base_url=url, trust_env=False, verify=False, timeout=_PATIENCE_S, follow_redirects=True
    )


def picture_of(number: int) -> bytes:
    """A gray picture with a corner of a brightness of its own."""
    image = np.full((256, 256, 3), 128, np.uint8)
    image[:64, :64] = 130 + number % 120
    return cv2.imencode(".png", image)[1].tobytes()


def now_of(process: int) -> tuple[int, int]:
    """Resident pages and open descriptors of a process (Linux)."""
    resident = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return resident, len(list(Path(f"/proc/{process}/fd").iterdir()))
