"""What clients, stores and engines do wrong: each is one problem with a sentence to act on."""

from __future__ import annotations

import io
import json
import logging
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import httpx
import numpy as np
import pytest

from edge_app.api import bodies, service
from edge_app.api import status as status_routes
from edge_app.api.service import Places
from edge_app.page.choice import open_station
from runtime import console
from runtime.engines.base import Arrays, FakeEngine
from tests.edge_app.faulty_proxy import BUSY, PASS, proxied
from tests.edge_app.qdrant_stand_in import qdrant
from tests.edge_app.served import api_served, outputs, picture, station_of
from tests.edge_app.test_api import inspected, problem
from tests.edge_app.tiny_bundle import write_tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tile-tiny")


@pytest.fixture(scope="module")
def client(bundle: Path) -> Iterator[httpx.Client]:
    with open_station([bundle], "memory:") as station, api_served(station) as found:
        yield found


def bomb() -> bytes:
    """A PNG of 400 megapixels in half a megabyte."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    side = 20_000
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * (side + 1) * 100, 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def other_kinds() -> list[bytes]:
    image = np.zeros((64, 64, 3), np.uint8)
    known = [cv2.imencode(kind, image)[1].tobytes() for kind in (".ppm", ".ras", ".jp2")]
    return [*known, b"GIF89a" + b"\0" * 64, b"%PDF-1.7", b"<svg/>", b"PK\x03\x04" + b"\0" * 99]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no picture at all", "cannot be decoded"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 64, "cannot be decoded"),
        (picture(28, ".jpg")[:-50], "cut off before its end"),
        (b"BM" + b"\0" * 64, "cannot be decoded"),
        (bomb(), "at most 100 megapixels, found 20000x20000"),
        (picture(28, side=4), "at least 8x8 pixels"),
    ],
)
def test_a_picture_that_is_none_is_a_problem(
    client: httpx.Client, content: bytes, said: str
) -> None:
    answer = client.post("v1/inspect", content=content, params={"name": "a.png"})
    detail = problem(answer, 422)
    assert detail.startswith("a.png: ")
    assert said in detail


@pytest.mark.parametrize("content", other_kinds())
def test_what_no_camera_makes_is_not_decoded(client: httpx.Client, content: bytes) -> None:
    said = problem(client.post("v1/inspect", content=content), 422)
    assert "expected a picture (PNG, JPEG, BMP, TIFF or WebP)" in said


@pytest.mark.parametrize("kind", [".png", ".jpg", ".bmp", ".tiff", ".webp"])
def test_what_cameras_make_is_judged(client: httpx.Client, kind: str) -> None:
    assert inspected(client, picture(28, kind))["verdict"] == "anomalous"


def test_an_empty_body_says_how_to_send_a_picture(client: httpx.Client) -> None:
    assert "curl --data-binary" in problem(client.post("v1/inspect"), 400)
    files = {"file": ("a.png", b"")}
    assert "found an empty file" in problem(client.post("v1/inspect", files=files), 422)


def test_a_form_that_is_none_is_refused(client: httpx.Client) -> None:
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    broken = client.post("v1/inspect", content=b"--y\r\n", headers=kind)
    problem(broken, 400)
    kind = {"Content-Type": "multipart/form-data"}
    problem(client.post("v1/inspect", content=b"--y\r\n", headers=kind), 400)
    text = client.post("v1/inspect", files={"file": ("a.png", picture(28))}, data={"record": "1"})
    assert "expected a file, found text" in problem(text, 422)
    many = [("file", (f"{n}.png", picture(28))) for n in range(bodies.MOST_PICTURES + 1)]
    problem(client.post("v1/inspect", files=many), 400)


def test_a_huge_file_is_refused_before_it_is_read(client: httpx.Client) -> None:
    size = (bodies.MAX_UPLOAD_MIB << 20) + 1
    address = urlsplit(str(client.base_url))
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        head = f"POST /v1/inspect HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n"
        connection.sendall(head.encode())
        start = time.monotonic()
        answer = ""
        # The head may arrive before the body.
        while not answer.endswith("}") and (more := connection.recv(65536)):
            answer += more.decode()
    assert answer.startswith("HTTP/1.1 413")
    assert "expected at most 200 MiB" in answer
    assert time.monotonic() - start < 10
    assert inspected(client, picture(28))["verdict"] == "anomalous"


def test_a_huge_file_of_unknown_length_is_refused_when_it_is_too_much(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "MAX_UPLOAD_MIB", 1)

    def endless() -> Iterator[bytes]:
        for _ in range(40):
            yield b"\xff\xd8\xff" + b"\0" * 65_536

    assert "at most 1 MiB" in problem(client.post("v1/inspect", content=endless()), 413)
    file = io.BytesIO(b"\xff\xd8\xff" + b"\0" * (2 << 20))
    problem(client.post("v1/inspect", files={"file": ("a.jpg", file)}), 413)


def test_a_body_that_never_arrives_gives_its_place_back(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "PATIENCE_S", 0.3)
    with (
        open_station([bundle], "memory:") as station,
        api_served(station, places=Places(1)) as client,
    ):
        address = urlsplit(str(client.base_url))
        with socket.create_connection((address.hostname, address.port), timeout=30) as slow:
            head = "POST /v1/inspect HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999\r\n\r\nx"
            slow.sendall(head.encode())
            assert slow.recv(65536).startswith(b"HTTP/1.1 408")
        assert inspected(client, picture(28))["verdict"] == "anomalous"


def test_who_goes_in_the_middle_gives_the_place_back_and_is_no_fault_of_ours(
    bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        open_station([bundle], "memory:") as station,
        api_served(station, places=Places(1)) as client,
    ):
        address = urlsplit(str(client.base_url))
        for kind in ("image/png", "multipart/form-data; boundary=x"):
            with socket.create_connection((address.hostname, address.port), timeout=30) as gone:
                head = f"POST /v1/inspect HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
                gone.sendall(f"{head}Content-Length: 999\r\n\r\n--x".encode())
                time.sleep(0.1)
            until = time.monotonic() + 10
            while client.get("readyz").status_code != 200:
                assert time.monotonic() < until
                time.sleep(0.01)
        assert inspected(client, picture(28))["verdict"] == "anomalous"
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_a_long_word_is_refused_before_it_is_read(client: httpx.Client) -> None:
    part_id = inspected(client, picture(28), record=True)["part_id"]
    where = f"v1/parts/{part_id}/feedback"
    long = {"word": "right", "note": "x" * 100_000}
    assert "at most 65536 bytes" in problem(client.post(where, json=long), 413)
    chunks = (b" " * 50_000 for _ in range(3))
    assert client.post(where, content=chunks).status_code in (400, 422)
    assert client.get(f"v1/parts/{part_id}").json()["words"] == []
    for note in ("\ud800", "\x00", "\N{SNOWMAN}" * 2000):
        answer = client.post(
            where,
            content=b'{"word": "right", "note": "%s"}' % note.encode("ascii", "backslashreplace"),
            headers={"Content-Type": "application/json"},
        )
        assert answer.status_code in (200, 422)


class Slow:
    """An engine that judges when it is told to."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.began = threading.Semaphore(0)

    def __call__(self, _: Arrays) -> Arrays:
        self.began.release()
        self.go.wait(30)
        return outputs(1.0)


def test_who_finds_no_place_is_told_at_once_and_the_rest_is_judged(bundle: Path) -> None:
    slow = Slow()
    with (
        station_of((bundle, FakeEngine(slow))) as station,
        api_served(station, places=Places(3)) as client,
        ThreadPoolExecutor(3) as pool,
    ):
        waiting = [pool.submit(client.post, "v1/inspect", content=picture(n)) for n in range(3)]
        slow.began.acquire(timeout=30)
        while "lineside_queue_requests 3.0" not in client.get("metrics").text:
            time.sleep(0.01)
        start = time.monotonic()
        refused = client.post("v1/inspect", content=picture(28))
        assert "at most 3 requests at once" in problem(refused, 503)
        assert refused.headers["retry-after"] == "1"
        assert time.monotonic() - start < 5
        # It lives, but there is no use in sending it more.
        assert client.get("healthz").status_code == 200
        assert "3 of 3 in work" in problem(client.get("readyz"), 503)
        slow.go.set()
        assert [answer.result().status_code for answer in waiting] == [200] * 3
        assert client.get("readyz").status_code == 200
        assert "lineside_overloads_total 1.0" in client.get("metrics").text


def test_pictures_that_together_are_too_much_are_refused(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        open_station([bundle], "memory:") as station,
        api_served(station, places=Places(16, most_mib=1)) as client,
    ):
        refused = client.post("v1/inspect", content=b"\xff\xd8\xff" + b"\0" * (1 << 20))
        assert "1 MiB of pictures at once" in problem(refused, 503)
        assert inspected(client, picture(28))["verdict"] == "anomalous"
        assert "lineside_queue_bytes 0.0" in client.get("metrics").text
    assert service.MOST_MIB >= 2 * bodies.MAX_UPLOAD_MIB


def test_a_score_that_is_no_number_is_a_problem_or_no_verdict_of_good(bundle: Path) -> None:
    with (
        station_of((bundle, FakeEngine(lambda _: outputs(float("nan"))))) as station,
        api_served(station) as client,
    ):
        answer = client.post("v1/inspect", content=picture(28), params={"record": True})
        if answer.status_code == 200:
            assert answer.json()["inspections"][0]["verdict"] == "cannot_judge"
        else:
            problem(answer, 500)


def test_a_request_and_its_lines_have_an_id(
    client: httpx.Client, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(address: str, given: str) -> str:
        answer = client.get(address, headers={"X-Request-ID": given})
        return f"{answer.status_code} {answer.headers['x-request-id']}"

    def broken(*_: object) -> None:
        raise ZeroDivisionError("of ours")

    with console.shown(logging.DEBUG, "json"):
        assert asked("v1/bundles", "mes-17") == "200 mes-17"
        status, made = asked("v1/nowhere", 'two "words"').split()
        assert (status, len(made)) == ("404", 32)
        monkeypatch.setattr(status_routes, "_card", broken)
        assert asked("v1/bundles", "mes-18") == "500 mes-18"
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert {line["request"] for line in lines} == {"mes-17", made, "mes-18"}
    failed = [line["message"] for line in lines if line["request"] == "mes-18"]
    assert "the API failed: ZeroDivisionError: of ours" in failed
    (listed,) = [line for line in lines if line["request"] == "mes-17"]
    assert listed["message"].startswith("GET /bundles 200 in ")
    assert listed["status"] == 200


def test_an_engine_that_fails_cannot_judge_and_says_so(bundle: Path) -> None:
    def broken(_: Arrays) -> Arrays:
        raise ZeroDivisionError("no such device")

    with station_of((bundle, FakeEngine(broken))) as station, api_served(station) as client:
        for heat_map in ("none", "base64"):
            found = inspected(client, picture(28), heat_map=heat_map, record=True)
            assert found["verdict"] == "cannot_judge"
            assert found["raw_score"] is None
            assert "the engine failed" in found["reasons"][0]
        assert client.get("v1/parts").json()["parts"] == []


def test_a_lost_store_keeps_nobody_from_the_verdict(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    is_up = threading.Event()
    with (
        qdrant() as url,
        proxied(url, lambda *_: PASS if is_up.is_set() else BUSY) as server,
        open_station([bundle], server.url) as station,
        api_served(station) as client,
    ):
        found = inspected(client, picture(28), record=True)
        assert found["verdict"] == "anomalous"
        assert found["part_id"] is None
        assert "503" in str(found["store_problem"])
        for path in ("v1/parts", "v1/parts/00000000-0000-4000-8000-000000000000"):
            answer = client.get(path)
            problem(answer, 503)
            assert answer.headers["retry-after"] == "5"
        assert 'lineside_store_up{bundle="tile-tiny"} 0.0' in client.get("metrics").text
        assert client.get("readyz").status_code == 200
        is_up.set()
        found = inspected(client, picture(28), record=True)
        assert found["store_problem"] == ""
        (part,) = client.get("v1/parts").json()["parts"]
        assert part["id"] == found["part_id"]
        said = client.post(f"v1/parts/{part['id']}/feedback", json={"word": "right"}).json()
        assert [word["word"] for word in said["words"]] == ["right"]
        assert 'lineside_store_up{bundle="tile-tiny"} 1.0' in client.get("metrics").text


def test_a_closed_store_is_a_problem_of_every_route_that_needs_it(bundle: Path) -> None:
    with open_station([bundle], "memory:") as station, api_served(station) as client:
        part_id = inspected(client, picture(28), record=True)["part_id"]
        next(iter(station.lines.values())).store.close()
        for below in ("", "/picture", "/neighbours"):
            problem(client.get(f"v1/parts/{part_id}{below}"), 503)
        problem(client.post(f"v1/parts/{part_id}/feedback", json={"word": "right"}), 503)
        assert inspected(client, picture(29), record=True)["part_id"] is None


def test_a_thumbnail_that_is_no_picture_is_not_sent_as_one(bundle: Path) -> None:
    """Whoever wrote the store: what is served as a picture begins like one."""
    with open_station([bundle], "memory:") as station, api_served(station) as client:
        (line,) = station.lines.values()
        for thumbnail in ("", "PHNjcmlwdD4=", "not base64"):
            part = line.inspect(picture(28))
            point = line.point(part, "a.png")
            line.store.upsert([type(point)(**{**vars(point), "thumbnail": thumbnail})])
            answer = client.get(f"v1/parts/{point.point_id}/picture")
            assert "found none" in problem(answer, 404)
