"""``/v1/line``, and how parts look: real HTTP, a real graph, a folder that fills up."""

from __future__ import annotations

import os
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest

from edge_app import serving
from edge_app.live.notifying import stay
from edge_app.records import RECORDS_FILE
from edge_app.screens import line_routes
from runtime.errors import StoreError
from tests.edge_app.live.fed import until
from tests.edge_app.live.served import Place, place_at, station_at
from tests.edge_app.served import api_served, client_of, picture, station_of
from tests.edge_app.test_api import problem
from tests.edge_app.tiny_bundle import write_tiny_bundle


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return place_at(tmp_path_factory.mktemp("station"))


@pytest.fixture(scope="module")
def box(place: Place) -> Iterator[httpx.Client]:
    with station_at(place) as url, client_of(f"{url}v1/") as client:
        yield client


def line(box: httpx.Client, after: str = "") -> dict[str, Any]:
    answer = box.get("line", params={"after": after} if after else {})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def dropped(box: httpx.Client, place: Place, name: str, kind: str, seed: int) -> dict[str, Any]:
    """A part that came, once it is written down."""
    place.drop(name, kind, seed)

    def there() -> list[dict[str, Any]]:
        return [one for one in line(box)["newest"] if one["name"] == name]

    until(there)
    return there()[0]


def test_a_part_that_comes_is_told_at_once(box: httpx.Client, place: Place) -> None:
    before = line(box)
    threading.Timer(0.2, place.drop, ("a.png", "good", 1)).start()
    begin, version = time.monotonic(), before["version"]
    while not (state := line(box, version))["newest"]:
        version = state["version"]
        assert time.monotonic() - begin < 10
    (newest,) = state["newest"]
    assert (newest["name"], newest["verdict"], newest["recorded"]) == ("a.png", "good", True)
    assert state["waiting"] == []
    assert state["sources"][0]["state"] == "running"
    assert state["sources"][0]["newest"]["id"] == newest["id"]
    assert state["counts"] == {"seen": 1, "rejected": 0, "cannot_judge": 0, "overruled": 0}


def test_who_waits_for_a_change_that_does_not_come_is_answered_all_the_same(
    box: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_app.screens.line_routes.HOLD_S", 0.3)
    version = line(box)["version"]
    begin = time.monotonic()
    assert line(box, version)["version"] == version
    assert 0.3 <= time.monotonic() - begin < 5


def test_a_flagged_part_waits_until_somebody_has_said_something_of_it(
    box: httpx.Client, place: Place
) -> None:
    first = dropped(box, place, "b.png", "dark", 2)
    second = dropped(box, place, "c.png", "bright", 3)
    dropped(box, place, "d.png", "good", 4)
    assert [one["name"] for one in line(box)["waiting"]] == ["b.png", "c.png"]
    said = box.post(f"parts/{first['id']}/feedback", json={"word": "wrong"})
    assert said.status_code == 200
    state = line(box)
    assert [one["name"] for one in state["waiting"]] == ["c.png"]
    assert state["counts"]["overruled"] == 1
    assert {one["name"]: one["truth"] for one in state["newest"]}["b.png"] == "good"
    # Taken back: it waits again.
    box.post(f"parts/{first['id']}/feedback", json={"word": ""})
    assert [one["name"] for one in line(box)["waiting"]] == ["b.png", "c.png"]
    for part in (first, second):
        assert box.post(f"line/{part['number']}/seen").json() == {"number": part["number"]}
    assert line(box)["waiting"] == []


@pytest.mark.parametrize("number", [0, 10**6, -1, 10**30])
def test_a_number_that_nobody_has_is_a_problem(box: httpx.Client, number: int) -> None:
    assert "expected the number of a part" in problem(box.post(f"line/{number}/seen"), 404)


def test_a_part_has_its_picture_its_heat_map_and_an_outline_of_what_is_wrong(
    box: httpx.Client, place: Place
) -> None:
    part = dropped(box, place, "e.png", "dark", 5)
    address = f"parts/{part['id']}"
    shown = cv2.imdecode(np.frombuffer(box.get(f"{address}/image").content, np.uint8), 1)
    assert shown.shape == (256, 256, 3)
    heat = cv2.imdecode(np.frombuffer(box.get(f"{address}/heat").content, np.uint8), -1)
    # Strong where the part is dark, at the upper left, and clear where it is not.
    assert heat[4, 4, 3] > 100 > 5 > heat[-4, -4, 3]
    outline = box.get(f"{address}/outline").json()
    (contour,) = outline["contours"]
    assert np.mean(contour, axis=0).max() < 0.4
    assert (outline["has_heat"], outline["whole"]) == (True, True)


@pytest.mark.slow
def test_an_older_part_is_read_again_where_its_file_is_still_the_same(tmp_path: Path) -> None:
    place = place_at(tmp_path)
    with station_at(place) as url, client_of(f"{url}v1/") as box:
        parts = [dropped(box, place, f"f{seed}.png", "dark", seed) for seed in (6, 7)]
    (place.incoming / "f7.png").write_bytes((place.incoming / "f6.png").read_bytes())
    # After a restart nothing is known of the pictures that were at hand.
    with station_at(place) as url, client_of(f"{url}v1/") as other:
        sizes = []
        for part in parts:
            image = other.get(f"parts/{part['id']}/image").content
            sizes.append(cv2.imdecode(np.frombuffer(image, np.uint8), 1).shape[0])
        assert sizes == [256, 160]
        outlines = [other.get(f"parts/{part['id']}/outline").json() for part in parts]
        assert [one["whole"] for one in outlines] == [True, False]
        assert "its picture is gone" in problem(other.get(f"parts/{parts[1]['id']}/heat"), 404)


def test_a_part_of_the_api_is_not_looked_for_on_the_disk(box: httpx.Client, place: Place) -> None:
    # Its name is a client's to choose.
    params = {"record": True, "name": str(place.incoming / "a.png")}
    sent = box.post("inspect", content=picture(28), params=params).json()["inspections"][0]
    # What was sent is shown, and its record names no place.
    assert box.get(f"parts/{sent['part_id']}/outline").json()["width"] == 64
    with sqlite3.connect(place.root / "neighbours" / RECORDS_FILE) as records:
        found = records.execute("SELECT path FROM parts WHERE id = ?", [sent["part_id"]])
        assert found.fetchall() == [("a.png",)]


def test_records_that_cannot_be_read_keep_nobody_from_the_verdict(
    box: httpx.Client, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise StoreError("records.db: expected to read the records, found 'disk I/O error'")

    with monkeypatch.context() as failing:
        for name in ("waiting", "newest", "counts", "state", "add", "has"):
            failing.setattr(f"edge_app.records.arrivals.Journal.{name}", broken)
        place.drop("g.png", "dark", 8)
        until(lambda: (line(box)["sources"][0]["newest"] or {})["name"] == "g.png")
        until(lambda: line(box)["waiting"])
        state = line(box)
        assert "disk I/O error" in state["trouble"]
        assert "not recorded" in state["sources"][0]["warning"]
        # Flagged and written down nowhere: it waits all the same, until somebody has looked.
        (waiting,) = state["waiting"]
        assert (waiting["name"], waiting["verdict"]) == ("g.png", "anomalous")
        assert box.post(f"line/{waiting['number']}/seen").status_code == 200
        assert line(box)["waiting"] == []
    place.drop("h.png", "good", 9)
    until(lambda: line(box)["sources"][0]["warning"] == "")


def test_neighbours_of_one_verdict_alone(box: httpx.Client, place: Place) -> None:
    part = dropped(box, place, "i.png", "bright", 10)
    found = box.get(f"parts/{part['id']}/neighbours", params={"verdict": "good"}).json()
    assert {one["part"]["verdict"] for one in found["neighbours"]} == {"good"}


def test_without_a_station_there_is_the_history_and_no_line(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "tile-tiny")
    with station_of((bundle, "openvino")) as station, api_served(station) as site:
        assert site.get("line").headers["location"] == "/"
        assert 'data-station=""' in site.get("history").text
        assert "lineside station CONFIG.toml" in problem(site.get("v1/line"), 404)


def test_what_goes_wrong_in_the_station_itself_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("a fault of ours")

    monkeypatch.setattr("edge_app.live.feeding.run_feeds", broken)
    with station_at(place_at(tmp_path)) as url, client_of(f"{url}v1/") as box:
        until(lambda: line(box)["sources"][0]["state"] == "away")
        assert "a fault of ours" in line(box)["sources"][0]["trouble"]


def test_the_screens_are_there_and_nothing_beside_them(box: httpx.Client) -> None:
    with client_of(str(box.base_url).removesuffix("v1/")) as site:
        page = site.get("line")
        assert page.headers["content-type"].startswith("text/html")
        assert 'data-root="" data-station="yes"' in page.text
        assert site.get("screen/line.js").headers["content-type"].startswith("text/javascript")
        for name in ("page.css", "..%2Fline.py", "%2e%2e/__init__.py"):
            assert site.get(f"screen/{name}").status_code == 404


def told(url: str, most: int) -> list[str]:
    """What systemd is told in its watchdog's time, until so much has been said or nothing more."""
    stop, name = threading.Event(), f"@lineside-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name[1:]}")
        manager.settimeout(0.5)
        environ = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "300000"}
        waiting = threading.Thread(target=stay, args=(url, stop, environ))
        waiting.start()
        said = []
        try:
            while len(said) < most:
                said.append(manager.recv(1000).decode().splitlines()[0])
        except TimeoutError:
            pass
        stop.set()
        waiting.join()
        return [*said, manager.recv(1000).decode()]


def test_systemd_is_told_that_the_station_is_ready_and_alive(box: httpx.Client) -> None:
    url = str(box.base_url.join("/"))
    assert told(url, 3) == ["READY=1", "WATCHDOG=1", "WATCHDOG=1", "STOPPING=1"]


def test_a_station_that_does_not_answer_gives_no_sign_of_life() -> None:
    assert told("http://127.0.0.1:1/", 2) == ["READY=1", "STOPPING=1"]


def test_a_service_manager_that_is_gone_ends_no_station(box: httpx.Client) -> None:
    stop = threading.Event()
    stop.set()
    stay(str(box.base_url.join("/")), stop, {"NOTIFY_SOCKET": "/nowhere/notify"})


def test_who_waits_for_a_change_is_answered_before_a_server_that_ends() -> None:
    assert line_routes.HOLD_S + line_routes._READ_S < serving._LAST_ANSWERS_S
