"""``/v1/teach`` over real HTTP: one teaches at a time, and versions go live and back."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from edge_app.api.application import Access, build_application, build_service
from edge_app.live.looks import Looks
from edge_app.page.choice import open_station
from edge_app.records import Database, events
from edge_app.serving import listening, running
from edge_app.teaching.teacher import Teacher
from runtime import atomic
from runtime.bundle.folder import Bundle, seal
from runtime.bundle.manifest import Variant
from tests.edge_app.served import api_served, client_of, picture, station_of
from tests.edge_app.test_api import problem
from tests.edge_app.test_teach_versions import add_version
from tests.edge_app.tiny_bundle import write_tiny_bundle

ANNA, BERT = {"Lineside-Client": "anna"}, {"Lineside-Client": "bert"}
DRAFT = {"bundle": "tile-tiny", "part": "screw"}


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    """A box with a bundle that says it can be taught, and pictures in a folder."""
    # Comparing pictures is a process of its own, which the story in the browser runs.
    monkeypatch.setattr(Teacher, "look", lambda _self: None)
    bundle = write_tiny_bundle(tmp_path / "tile-tiny")
    (bundle / "onnx").mkdir()
    (bundle / "onnx" / "model.onnx").write_bytes(b"none")
    with Bundle.open(write_tiny_bundle(tmp_path / "whole")) as other:
        manifest = other.manifest
    (bundle / "bundle.json").unlink()
    variant = Variant("onnxruntime", "fp32", "onnx/model.onnx")
    seal(bundle, replace(manifest, variants=(*manifest.variants, variant)))
    samples = tmp_path / "samples"
    (samples / "more").mkdir(parents=True)
    for at in range(3):
        (samples / f"{at}.png").write_bytes(picture(10 * at))
        (samples / "more" / f"{at}.png").write_bytes(picture(10 * at + 5))
    store = tmp_path / "store"
    with (
        open_station([bundle], str(store)) as station,
        closing(Teacher(station, store)) as teacher,
        listening("127.0.0.1", 0) as taken,
    ):
        service = build_service(station)
        service.teacher = teacher
        service.watches(None, samples)
        with (
            running(build_application(service, Access()), taken),
            client_of(f"http://127.0.0.1:{taken.getsockname()[1]}/") as client,
        ):
            yield client


def posted(box: httpx.Client, path: str, body: Any, who: dict[str, str] = ANNA) -> dict[str, Any]:
    answer = box.post(f"v1/teach/{path}", json=body, headers=who)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def ended(box: httpx.Client) -> dict[str, Any]:
    for _ in range(400):
        found = box.get("v1/teach").json()
        if not found["job"]["running"]:
            return dict(found)
        time.sleep(0.02)
    raise AssertionError(found)


def test_one_teaches_at_a_time_and_the_second_is_told(box: httpx.Client) -> None:
    assert box.get("v1/teach").json()["draft"] is None
    problem(box.post("v1/teach/make", headers=ANNA), 409)
    assert posted(box, "draft", DRAFT)["draft"]["mine"]
    assert not box.get("v1/teach", headers=BERT).json()["draft"]["mine"]
    for path, body in (("draft", DRAFT), ("take", {"source": "good"}), ("make", None)):
        said = problem(box.post(f"v1/teach/{path}", json=body, headers=BERT), 409)
        assert "has been teaching screw since" in said
    content = {"content": picture(3), "headers": BERT}
    assert "wait, or discard it" in problem(box.post("v1/teach/pictures", **content), 409)
    assert box.delete("v1/teach/draft", headers=BERT).json()["draft"] is None
    assert posted(box, "draft", DRAFT, BERT)["draft"]["mine"]


def test_pictures_come_from_files_folders_and_records(
    box: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for level in (120, 124, 28):
        box.post("v1/inspect", content=picture(level), params={"record": True})
    posted(box, "draft", DRAFT)
    files = [("file", (f"{at}.png", picture(30 + at))) for at in range(2)]
    files.append(("file", ("none.txt", b"no picture")))
    found = box.post("v1/teach/pictures", files=files, headers=ANNA).json()
    assert [one["name"] for one in found["draft"]["pictures"]] == ["0.png", "1.png"]
    assert found["refused"][0].startswith("none.txt: expected")
    assert found["folders"] == ["samples", "samples/more"]
    found = posted(box, "take", {"source": "folder", "folder": "samples/more", "count": 2})
    assert len(found["draft"]["pictures"]) == 4
    # What was sent and judged is at hand for a while alone: then nothing is taken, and it is said.
    with monkeypatch.context() as later:
        later.setattr(Looks, "get", lambda *_: None)
        found = posted(box, "take", {"source": "all", "count": 50})
    assert found["refused"] == ["3 recorded parts: their pictures are gone"]
    for folder in ("samples/..", "/etc", ""):
        body = {"source": "folder", "folder": folder}
        problem(box.post("v1/teach/take", json=body, headers=ANNA), 422)
    shown = box.get("v1/teach/pictures/1")
    assert shown.headers["content-type"] == "image/jpeg"
    problem(box.get("v1/teach/pictures/77"), 404)
    found = posted(box, "pictures/2", {"out": True})
    assert [one["out"] for one in found["draft"]["pictures"]] == [False, True, False, False]


def test_a_version_is_tried_goes_live_and_back_and_it_is_written_who_did_it(
    box: httpx.Client, tmp_path: Path
) -> None:
    name = add_version(tmp_path / "tile-tiny", 2.0)
    chosen = {"bundle": "tile-tiny", "version": name}

    def score() -> float:
        answer = box.post("v1/inspect", content=picture(100), params={"record": True}).json()
        return float(answer["inspections"][0]["raw_score"])

    assert score() == pytest.approx(28.0, abs=1.0)
    posted(box, "trial", chosen)
    trial = ended(box)["trial"]
    assert (trial["version"], trial["judged"], trial["without_picture"]) == (name, 1, 0)
    assert posted(box, "live", chosen)["lines"][0]["versions"][1]["live"]
    assert score() == pytest.approx(56.0, abs=1.0)
    # Parts of either version are in the history.
    assert len(box.get("v1/parts").json()["parts"]) == 2
    assert posted(box, "back", {"bundle": "tile-tiny"})["lines"][0]["versions"][0]["live"]
    assert score() == pytest.approx(28.0, abs=1.0)
    assert "found none" in problem(box.post("v1/teach/back", json=chosen), 409)
    problem(box.post("v1/teach/live", json={**chosen, "version": "v0009"}), 404)
    database = Database(tmp_path / "store")
    said = [(one.kind, one.details["what"], one.details["version"]) for one in events(database)]
    database.close()
    switched = [one for one in said if one[1].startswith("went")]
    assert switched == [("teach", "went live", name), ("teach", "went back", "")]


def test_a_version_that_cannot_be_used_leaves_the_one_at_work(
    box: httpx.Client, tmp_path: Path
) -> None:
    bundle = tmp_path / "tile-tiny"
    name = add_version(bundle, 2.0)
    (tmp_path / "tile-tiny.versions" / name / "bundle.json").write_text("{")
    chosen = {"bundle": "tile-tiny", "version": name}
    said = problem(box.post("v1/teach/live", json=chosen, headers=ANNA), 409)
    assert said.startswith("nothing was changed")
    answer = box.post("v1/inspect", content=picture(100)).json()
    assert answer["inspections"][0]["raw_score"] == pytest.approx(28.0, abs=1.0)


def test_a_full_disk_is_told_and_the_one_at_work_goes_on(
    box: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = add_version(tmp_path / "tile-tiny", 2.0)
    posted(box, "draft", DRAFT)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(atomic, "write_bytes", full)
        content = {"content": picture(3), "headers": ANNA}
        assert "No space left" in problem(box.post("v1/teach/pictures", **content), 503)
        chosen = {"bundle": "tile-tiny", "version": name}
        said = problem(box.post("v1/teach/live", json=chosen, headers=ANNA), 409)
        assert said.startswith("nothing was changed")
        assert "No space left" in said
    found = box.get("v1/teach").json()
    assert found["draft"]["pictures"] == []
    assert [one["live"] for one in found["lines"][0]["versions"]] == [True, False]
    answer = box.post("v1/inspect", content=picture(100)).json()
    assert answer["inspections"][0]["raw_score"] == pytest.approx(28.0, abs=1.0)


@pytest.mark.slow
def test_a_failed_teaching_says_why(box: httpx.Client) -> None:
    posted(box, "draft", DRAFT)
    posted(box, "take", {"source": "folder", "folder": "samples"})
    posted(box, "make", None)
    found = ended(box)
    assert "model.onnx: expected" in found["job"]["failed"]
    assert len(found["lines"][0]["versions"]) == 1


def test_a_box_without_a_folder_of_records_says_so(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "tile-tiny")
    with station_of((bundle, "openvino")) as station, api_served(station) as client:
        assert "--store FOLDER" in problem(client.get("v1/teach"), 404)
