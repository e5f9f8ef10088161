"""A folder or a ZIP judged at once, over HTTP: progress, table, report, and what is refused."""

from __future__ import annotations

import csv
import io
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from edge_app.api.application import Access, build_application, build_service
from edge_app.serving import listening, running
from tests.edge_app.live.fed import until
from tests.edge_app.served import client_of, station_of
from tests.edge_app.test_api import problem
from tests.edge_app.tiny_bundle import write_part, write_tiny_bundle


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "incoming"
    for number, kind in enumerate(("good", "dark", "good", "bright")):
        write_part(root / "shift" / f"{number}.png", number, kind)
    (root / "shift" / "=broken.png").write_bytes(b"no picture")
    (root / "empty").mkdir()
    return root


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[httpx.Client]:
    bundle = write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tile-tiny")
    with station_of((bundle, "openvino")) as station:
        service = build_service(station)
        service.watches(None, folder)
        with (
            listening("127.0.0.1", 0) as taken,
            running(build_application(service, Access()), taken),
            client_of(f"http://127.0.0.1:{taken.getsockname()[1]}/") as found,
        ):
            yield found


def ended(client: httpx.Client) -> dict[str, object]:
    until(lambda: client.get("v1/batch").json()["state"] != "running")
    found: dict[str, object] = client.get("v1/batch").json()
    return found


def zipped(folder: Path) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path in sorted((folder / "shift").iterdir()):
            archive.write(path, f"../../{path.name}")
        archive.writestr("__MACOSX/0.png", b"no picture")
        archive.writestr("notes.txt", b"no picture")
    return content.getvalue()


COUNTS = {"anomalous": 2, "cannot judge": 0, "cannot be read": 1, "good": 2}


def test_a_folder_is_judged_with_table_and_report(client: httpx.Client) -> None:
    assert client.get("v1/batch").json()["folders"] == ["incoming"]
    client.post("v1/batch", json={"folder": "incoming/shift"}).raise_for_status()
    found = ended(client)
    assert (found["state"], found["done"], found["total"]) == ("done", 5, 5)
    assert found["counts"] == COUNTS
    assert found["seconds_left"] == 0.0
    rows = client.get("v1/batch/rows", params={"after": 1, "limit": 3}).json()["rows"]
    assert [one["number"] for one in rows] == [2, 3, 4]
    assert [bool(one["thumbnail"]) for one in rows] == [
        one["verdict"] == "anomalous" for one in rows
    ]
    table = list(csv.DictReader(io.StringIO(client.get("v1/batch/results.csv").text)))
    assert sorted(one["verdict"] for one in table) == ["", "anomalous", "anomalous", "good", "good"]
    assert all(not one["name"].startswith("=") for one in table)
    report = client.get("v1/batch/report.html")
    assert report.text.index("anomalous</b>") < report.text.index("<b>good</b>")
    assert "5 pictures: 2 anomalous, 1 cannot be read, 2 good" in report.text
    assert "attachment" in report.headers["content-disposition"]
    # Nothing of it is in the records.
    assert client.get("v1/parts").json()["parts"] == []


def test_a_zip_is_judged_and_no_name_in_it_leads_anywhere(
    client: httpx.Client, folder: Path
) -> None:
    sent = client.post("v1/batch/zip", content=zipped(folder), params={"name": "../a.zip"})
    assert sent.json()["name"] == "a.zip"
    found = ended(client)
    assert found["counts"] == COUNTS
    assert "expected a ZIP" in problem(client.post("v1/batch/zip", content=b"none"), 400)
    empty = io.BytesIO()
    zipfile.ZipFile(empty, "w").close()
    assert "expected pictures" in problem(
        client.post("v1/batch/zip", content=empty.getvalue()), 400
    )


@pytest.mark.parametrize(
    "folder_", ["other", "incoming/../..", "/etc", "incoming/none", "incoming/empty", ".."]
)
def test_no_other_folder_is_read(client: httpx.Client, folder_: str) -> None:
    said = problem(client.post("v1/batch", json={"folder": folder_}), 404)
    assert "expected" in said
    assert "/tmp" not in said
    assert "/dev/shm" not in said


def test_one_batch_at_a_time_which_can_be_canceled(
    client: httpx.Client, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge_app.line import Line

    inspect, go_on, begun = Line.inspect, threading.Event(), threading.Event()

    def slow(self: Line, *given: object, **more: object) -> object:
        begun.set()
        go_on.wait(10)
        return inspect(self, *given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Line, "inspect", slow)
    client.post("v1/batch", json={"folder": "incoming/shift"}).raise_for_status()
    assert begun.wait(10)
    assert "one batch at a time" in problem(
        client.post("v1/batch", json={"folder": "incoming/shift"}), 409
    )
    assert "one batch at a time" in problem(
        client.post("v1/batch/zip", content=zipped(folder)), 409
    )
    threading.Timer(0.2, go_on.set).start()
    found = client.delete("v1/batch").json()
    assert found["state"] == "canceled"
    assert found["done"] < found["total"]
    assert "not finished" in client.get("v1/batch/report.html").text
