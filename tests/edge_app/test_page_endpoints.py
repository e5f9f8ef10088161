"""The page for programs: named endpoints through gradio_client, and what the address chooses."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from edge_app.page.choice import open_station
from edge_app.page.layout import unknown_bundle
from edge_app.page.screen import Screen, give, look_at, show
from edge_app.serving import serving
from tests.edge_app.served import client_of, picture
from tests.edge_app.tiny_bundle import write_tiny_bundle

PASSWORD = "a long one"


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("bundles")
    return [write_tiny_bundle(folder / name, gain=gain) for name, gain in (("a", 1.0), ("b", 2.0))]


@pytest.fixture(scope="module")
def url(bundles: list[Path]) -> Iterator[str]:
    with serving(bundles, "memory:", port=0, password=PASSWORD) as found:
        yield found


@pytest.fixture(scope="module")
def client(url: str) -> Client:
    return Client(url, auth=("operator", PASSWORD), verbose=False)


@pytest.fixture
def part(tmp_path: Path) -> Path:
    file = tmp_path / "part.png"
    file.write_bytes(picture(28))
    return file


def test_named_endpoints_are_all_that_programs_see(client: Client) -> None:
    known = client.view_api(return_format="dict", print_info=False)
    assert sorted(known["named_endpoints"]) == ["/bundles", "/feedback", "/inspect"]
    assert known["unnamed_endpoints"] == {}


def test_a_client_of_gradio_gets_the_verdict_of_the_api(
    client: Client, url: str, part: Path
) -> None:
    found = client.predict(handle_file(part), "b", True, True, api_name="/inspect")
    assert (found["name"], found["verdict"], found["raw_score"]) == ("part.png", "anomalous", 200.0)
    assert base64.b64decode(found["heat_map"]).startswith(b"\x89PNG")
    assert len(found["regions"]) == 1
    said = client.predict(found["part_id"], "wrong", "oil", "a drop", api_name="/feedback")
    assert [(word["who"], word["word"], word["note"]) for word in said["words"]] == [
        ("operator", "wrong", "a drop")
    ]
    with client_of(url) as http:
        http.post("login", data={"username": "operator", "password": PASSWORD})
        assert http.get(f"v1/parts/{found['part_id']}").json() == said
        # Both ways are counted as one.
        of = 'lineside_inspections_total{bundle="b",verdict="anomalous"} 1.0'
        assert of in http.get("metrics").text
    assert [card["name"] for card in client.predict(api_name="/bundles")["bundles"]] == ["a", "b"]


def test_what_is_wrong_is_one_sentence(client: Client, part: Path, tmp_path: Path) -> None:
    with pytest.raises(AppError, match=r"expected one of a, b, found none"):
        client.predict(handle_file(part), "", False, False, api_name="/inspect")
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    with pytest.raises(AppError, match=r"broken.png: expected a picture"):
        client.predict(handle_file(broken), "a", False, False, api_name="/inspect")
    with pytest.raises(AppError, match="expected the id of a recorded part"):
        client.predict(
            "00000000-0000-4000-8000-000000000000", "right", "", "", api_name="/feedback"
        )
    with pytest.raises(AppError, match="expected the word"):
        client.predict("x", "maybe", "", "", api_name="/feedback")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/etc/hostname", "error"),
        ("../../../../etc/hostname", "error"),
        ("http://pictures.example/a.png", "expected a file that was sent"),
        ("https://127.0.0.1:1/a.png", "expected a file that was sent"),
        ("file:///etc/hostname", "error"),
    ],
)
def test_a_path_or_an_address_of_a_client_is_never_read(url: str, path: str, said: str) -> None:
    with client_of(url) as http:
        http.post("login", data={"username": "operator", "password": PASSWORD})
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}
        for body in (file, {**file, "url": path}):
            asked = http.post("gradio_api/call/inspect", json={"data": [body, "a", False, False]})
            event = asked.json()["event_id"]
            told = http.get(f"gradio_api/call/inspect/{event}").text
            assert said in told
            assert "verdict" not in told


def test_an_address_that_names_no_bundle_of_ours_judges_with_none(bundles: list[Path]) -> None:
    with open_station(bundles, "memory:") as station:
        assert unknown_bundle(station, "b") == ""
        assert "expected one of a, b, found &#x27;&lt;c&gt;&#x27;" in unknown_bundle(station, "<c>")


def test_while_a_part_is_judged_there_is_none_that_a_word_could_be_on(
    bundles: list[Path], part: Path
) -> None:
    screen = Screen()
    with open_station(bundles[:1], "memory:") as station:
        (line,) = station.lines.values()
        first = show(screen, lambda: look_at(line, part))

        def slow() -> object:
            assert "No part to remember" in str(give(station, "right", screen)[0])
            return look_at(line, part)

        again = show(screen, slow)
        # The same verdict once more is another banner: the page must see it come.
        assert first[0] != again[0]
        assert screen.point is not None
        with pytest.raises(ZeroDivisionError):
            show(screen, lambda: 1 // 0)
        assert screen.point is None
        assert line.store.count() == 0
