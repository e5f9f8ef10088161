"""``/v1`` over real HTTP: verdicts, records, words, neighbours, and what is counted."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest

from edge_app.page.choice import open_station
from runtime.inspector import Inspector
from tests.cli import lineside
from tests.edge_app.served import api_served, picture
from tests.edge_app.tiny_bundle import write_tiny_bundle

THREADS, EACH = 8, 25
NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tile-tiny")


@pytest.fixture
def client(bundle: Path) -> Iterator[httpx.Client]:
    with open_station([bundle], "memory:") as station, api_served(station) as found:
        yield found


def inspected(client: httpx.Client, content: bytes, **query: object) -> dict[str, object]:
    answer = client.post("v1/inspect", content=content, params=query)
    assert answer.status_code == 200, answer.text
    (found,) = answer.json()["inspections"]
    return found


def problem(answer: httpx.Response, status: int) -> str:
    """The sentence of a refused request."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found = answer.json()
    assert found["status"] == status
    assert found["title"]
    assert found["type"] == "about:blank"
    assert "expected" in found["detail"]
    return found["detail"]


def test_a_verdict_is_the_librarys_own(client: httpx.Client, bundle: Path) -> None:
    content = picture(28, ".jpg")
    with Inspector(bundle) as inspector:
        expected = inspector.inspect(content)
    found = inspected(client, content, name="C:\\line\\part.jpg")
    assert found["name"] == "part.jpg"
    assert found["verdict"] == expected.verdict == "anomalous"
    assert found["raw_score"] == pytest.approx(expected.pred_score)
    assert found["normalized_score"] == pytest.approx(expected.normalized_score)
    assert found["threshold"] == 64.0
    assert (found["bundle"], found["engine"], found["precision"]) == (
        "tile-tiny",
        "openvino",
        "fp32",
    )
    assert found["reasons"] == []
    assert set(found["times_ms"]) == {"wait", "decode", "resize", "infer", "judge"}
    assert found["times_ms"]["decode"] > 0
    assert found["part_id"] is None
    assert client.get("v1/parts").json() == {"parts": [], "next": None}


def test_several_pictures_are_answered_in_order_and_a_bad_one_keeps_the_rest(
    client: httpx.Client,
) -> None:
    files = [
        ("file", ("../../etc/a.png", picture(28))),
        ("file", ("b.png", b"no picture")),
        ("other", ("c\nd.png", picture(120))),
    ]
    answer = client.post("v1/inspect", files=files)
    assert answer.status_code == 200
    first, second, third = answer.json()["inspections"]
    assert [one["name"] for one in (first, second, third)] == ["a.png", "b.png", "c%0Ad.png"]
    assert [one["verdict"] for one in (first, second, third)] == ["anomalous", None, "good"]
    assert second["problem"]["status"] == 422
    assert "b.png: expected a picture (PNG, JPEG" in second["problem"]["detail"]


def test_a_heat_map_comes_as_asked(client: httpx.Client) -> None:
    content = picture(28)
    assert inspected(client, content)["heat_map"] is None
    link = inspected(client, content, heat_map="link")["heat_map"]
    answer = client.get(str(link))
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"
    inline = base64.b64decode(str(inspected(client, content, heat_map="base64")["heat_map"]))
    assert inline == answer.content
    assert cv2.imdecode(np.frombuffer(inline, np.uint8), cv2.IMREAD_COLOR).shape == (64, 64, 3)
    assert "newest heat maps" in problem(client.get("v1/heat-maps/none"), 404)


def test_regions_come_as_asked(client: httpx.Client, bundle: Path) -> None:
    content = picture(28)
    with Inspector(bundle) as inspector:
        expected = inspector.inspect(content).regions().to_json()
    assert inspected(client, content)["regions"] is None
    found = inspected(client, content, regions=True)
    assert {name: found[name] for name in expected} == expected
    assert len(expected["regions"]) == 1
    assert inspected(client, picture(120), regions=True)["regions"] == []


def test_a_part_is_recorded_once_and_can_be_looked_up(client: httpx.Client) -> None:
    content = picture(28)
    found = inspected(client, content, record=True, camera="left", name="a.png")
    assert inspected(client, content, record=True)["part_id"] == found["part_id"]
    (part,) = client.get("v1/parts").json()["parts"]
    assert part["id"] == found["part_id"]
    assert (part["name"], part["camera"], part["verdict"]) == ("a.png", "left", "anomalous")
    assert part["raw_score"] == found["raw_score"]
    one = client.get(f"v1/parts/{part['id']}").json()
    assert one == {"part": part, "words": []}
    thumbnail = client.get(part["picture"])
    assert thumbnail.headers["content-type"] == "image/jpeg"
    assert cv2.imdecode(np.frombuffer(thumbnail.content, np.uint8), cv2.IMREAD_COLOR).shape[0] == 64


def test_words_are_added_and_none_is_lost(client: httpx.Client) -> None:
    part_id = inspected(client, picture(28), record=True)["part_id"]
    where = f"v1/parts/{part_id}/feedback"
    client.post(where, json={"word": "right", "defect_type": "crack", "note": "at the edge"})
    client.post(where, json={"word": "wrong"})
    answer = client.post(where, json={"word": ""})
    assert answer.status_code == 200
    said = answer.json()["words"]
    assert [word["word"] for word in said] == ["right", "wrong", ""]
    assert (said[0]["defect_type"], said[0]["note"]) == ("crack", "at the edge")
    assert {word["verdict"] for word in said} == {"anomalous"}
    assert said == sorted(said, key=lambda word: word["time"])
    assert client.get(f"v1/parts/{part_id}").json() == answer.json()
    # The part comes along the line once more: there is one record, and what was said stays.
    assert inspected(client, picture(28), record=True)["part_id"] == part_id
    assert client.get(f"v1/parts/{part_id}").json() == answer.json()
    client.post(where, json={"word": "right", "defect_type": "oil"})
    (part,) = client.get("v1/parts", params={"word": "right"}).json()["parts"]
    assert (part["word"], part["word_defect_type"], part["defect_type"]) == ("right", "oil", "")
    assert client.get("v1/parts", params={"word": "none"}).json()["parts"] == []
    for bad in ({"word": "maybe"}, {}, {"word": "right", "note": "x" * 3000}, ["right"]):
        problem(client.post(where, json=bad), 422)
    problem(client.post(where, content=b"{"), 422)
    assert len(client.get(f"v1/parts/{part_id}").json()["words"]) == 4


def test_parts_are_filtered_and_come_page_by_page(client: httpx.Client) -> None:
    for level in range(60, 85):
        camera = "left" if level % 2 else "right"
        inspected(client, picture(level), record=True, camera=camera, name=f"{level}.png")

    def listed(**query: object) -> list[str]:
        found, cursor = [], None
        while True:
            page = client.get(
                "v1/parts", params={**query, **({"cursor": cursor} if cursor else {})}
            )
            found += [part["name"] for part in page.json()["parts"]]
            cursor = page.json()["next"]
            if cursor is None:
                return found

    everything = [f"{level}.png" for level in range(84, 59, -1)]
    assert listed() == listed(limit=7) == listed(limit=1) == everything
    assert listed(camera="left", limit=4) == everything[1::2]
    anomalous = [name for name in everything if int(name[:2]) < 64]
    assert listed(verdict="anomalous") == anomalous
    assert listed(verdict="good", camera="middle") == []
    middle = client.get("v1/parts", params={"limit": 10}).json()["parts"][-1]["time"]
    # Parts of one millisecond may lie on either side, together.
    late, early = listed(since=middle), listed(until=middle)
    assert late + early == everything
    assert everything[9] in late
    assert listed(bundle="tile-tiny", word="none", limit=200) == everything


def test_neighbors_are_the_stores_own_and_the_part_is_not_among_them(
    client: httpx.Client,
) -> None:
    ids = [inspected(client, picture(level), record=True)["part_id"] for level in (10, 12, 250)]
    found = client.get(f"v1/parts/{ids[0]}/neighbours").json()["neighbours"]
    assert [one["part"]["id"] for one in found] == ids[1:]
    assert found[0]["similarity"] > 0.99 > 0 > found[1]["similarity"]
    assert len(client.get(f"v1/parts/{ids[0]}/neighbours?k=1").json()["neighbours"]) == 1


@pytest.mark.parametrize("below", ["", "/picture", "/neighbours", "/feedback"])
def test_an_unknown_part_is_not_found(client: httpx.Client, below: str) -> None:
    method = "POST" if below == "/feedback" else "GET"
    body = {"word": "right"} if method == "POST" else None
    answer = client.request(method, f"v1/parts/{NOBODY}{below}", json=body)
    assert "expected the id of a recorded part" in problem(answer, 404)
    problem(client.request(method, f"v1/parts/..%2f..%2fetc{below}", json=body), 404)
    assert "UUID" in problem(client.request(method, f"v1/parts/x{below}", json=body), 422)


@pytest.mark.parametrize(
    "cursor",
    ["x", "=", "%00", "bnVsbA", "WzEsMl0", base64.b64encode(b'["2025", "x"]').decode(), "é"],
)
def test_a_bad_cursor_is_refused(client: httpx.Client, cursor: str) -> None:
    answer = client.get("v1/parts", params={"cursor": cursor})
    assert "leave it out to begin with the newest part" in problem(answer, 400)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"limit": "0"}, "query.limit"),
        ({"limit": "many"}, "query.limit"),
        ({"verdict": "fine"}, "query.verdict"),
        ({"word": "maybe"}, "query.word"),
        ({"verdct": "good"}, "expected one of bundle, verdict, camera"),
        ({"since": "last week"}, "since: expected ISO 8601"),
        ({"until": "9999-12-31T23:59:59-23:00"}, "until: expected ISO 8601"),
        ({"bundle": "other"}, "expected one of tile-tiny, found 'other'"),
    ],
)
def test_a_bad_filter_is_named(client: httpx.Client, query: dict[str, str], said: str) -> None:
    assert said in problem(client.get("v1/parts", params=query), 422)


def test_a_misspelt_parameter_is_refused_rather_than_passed_over(client: httpx.Client) -> None:
    answer = client.post("v1/inspect", content=picture(28), params={"recrod": "true"})
    assert "expected one of bundle, record, heat_map" in problem(answer, 422)
    assert "expected no parameter" in problem(client.get("v1/bundles?x=1"), 422)


def test_addresses_and_methods_that_are_none(client: httpx.Client) -> None:
    assert "found GET /v1/nothing" in problem(client.get("v1/nothing"), 404)
    answer = client.delete("v1/parts")
    assert "expected one of GET" in problem(answer, 405)
    assert answer.headers["allow"] == "GET"


def test_bundles_are_named_and_one_must_be_chosen_where_there_are_several(tmp_path: Path) -> None:
    bundles = [
        write_tiny_bundle(tmp_path / name, gain=gain)
        for name, gain in (("Fliese ü", 1.0), ("b", 2.0))
    ]
    store = str(tmp_path / "store")
    with open_station(bundles, store) as station, api_served(station) as client:
        cards = client.get("v1/bundles").json()["bundles"]
        assert [card["name"] for card in cards] == ["Fliese", "b"]
        assert [card["threshold"] for card in cards] == [64.0, 128.0]
        assert cards[0]["fingerprint"] != cards[1]["fingerprint"]
        answer = client.post("v1/inspect", content=picture(28))
        assert "expected one of Fliese, b, found none" in problem(answer, 422)
        scores = [
            inspected(client, picture(28), bundle=name, record=True)["raw_score"]
            for name in ("Fliese", "b")
        ]
        assert scores == [100.0, 200.0]
        # Both bundles' parts in one list, each with its own neighbors.
        inspected(client, picture(29), bundle="b", record=True)
        found = client.get("v1/parts?limit=2").json()
        assert [part["bundle"] for part in found["parts"]] == ["b", "b"]
        (last,) = client.get("v1/parts", params={"cursor": found["next"]}).json()["parts"]
        assert last["bundle"] == "Fliese"
        assert client.get(f"v1/parts/{last['id']}/neighbours").json()["neighbours"] == []
        assert len(client.get("v1/parts?bundle=b").json()["parts"]) == 2


def test_an_edited_threshold_counts_at_the_next_part(client: httpx.Client, bundle: Path) -> None:
    assert inspected(client, picture(28))["verdict"] == "anomalous"
    lineside("thresholds", bundle, "set", "--image-threshold", "120")
    try:
        found = inspected(client, picture(28))
        assert (found["verdict"], found["threshold"]) == ("good", 120.0)
        assert client.get("v1/bundles").json()["bundles"][0]["threshold"] == 120.0
    finally:
        lineside("thresholds", bundle, "rollback")


def test_prometheus_is_told_what_was_done(client: httpx.Client) -> None:
    for level in (28, 120, 121):
        inspected(client, picture(level), record=True)
    client.post("v1/inspect", content=b"no picture")
    figures = dict(
        line.rsplit(" ", 1) for line in client.get("metrics").text.splitlines() if line[0] != "#"
    )
    of = 'bundle="tile-tiny"'
    assert figures[f'lineside_inspections_total{{{of},verdict="good"}}'] == "2.0"
    assert figures[f'lineside_inspections_total{{{of},verdict="anomalous"}}'] == "1.0"
    assert figures[f"lineside_refused_pictures_total{{{of}}}"] == "1.0"
    for stage in ("wait", "decode", "resize", "infer", "judge"):
        assert figures[f'lineside_stage_seconds_count{{{of},stage="{stage}"}}'] == "3.0"
    assert figures[f"lineside_store_up{{{of}}}"] == "1.0"
    assert figures[f"lineside_store_lag_writes{{{of}}}"] == "3.0"
    assert figures[f"lineside_drift_alarm{{{of}}}"] == "0.0"
    assert figures["lineside_queue_requests"] == "0.0"
    requests = 'lineside_http_request_seconds_count{method="POST",route="/inspect",status="200"}'
    assert figures[requests] == "3.0"


def test_eight_threads_get_their_own_answers(client: httpx.Client) -> None:
    mixed: list[str] = []
    ids: dict[int, object] = {}
    gate = threading.Barrier(THREADS)

    def work(thread: int) -> None:
        gate.wait()
        for number in range(EACH):
            level = (thread * EACH + number) % 128
            content = picture(level, side=64 + 8 * thread)
            name = f"{thread}-{number}.png"
            answer = client.post(
                "v1/inspect", content=content, params={"name": name, "record": True}
            )
            while answer.status_code == 503:
                answer = client.post(
                    "v1/inspect", content=content, params={"name": name, "record": True}
                )
            (found,) = answer.json()["inspections"]
            part = client.get(f"v1/parts/{found['part_id']}").json()["part"]
            if (found["name"], found["raw_score"], part["raw_score"]) != (
                name,
                128.0 - level,
                128.0 - level,
            ):
                mixed.append(json.dumps([name, level, found, part]))
            ids[thread * EACH + number] = found["part_id"]

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, range(THREADS)))
    assert mixed == []
    assert len(set(ids.values())) == THREADS * EACH


def test_a_picture_that_is_only_tried_is_no_part_of_the_line(bundle: Path) -> None:
    with open_station([bundle], "memory:") as station, api_served(station) as client:
        (line,) = station.lines.values()
        inspected(client, picture(28), counts=False)
        assert line._last == b""
        inspected(client, picture(28))
        assert line._last == picture(28)
