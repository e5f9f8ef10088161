"""The history: recorded parts by filters, each at its own address, and what can be taken along."""

from __future__ import annotations

import csv
import io
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from selenium import webdriver

from edge_app.screens.exporting import place_in_tree
from edge_app.store import PartPoint
from tests.edge_app.browser import chromium, find, wait_until
from tests.edge_app.live.fed import until
from tests.edge_app.live.served import Place, place_at, station_at
from tests.edge_app.live.test_feeding import video_of
from tests.edge_app.live.test_line_screen import SCREEN, low_contrasts, text, verdict
from tests.edge_app.points import make_points
from tests.edge_app.served import client_of, picture
from tests.edge_app.test_api import problem

KINDS = ("good", "dark", "bright")
NUMBER = 12


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return place_at(tmp_path_factory.mktemp("history"))


@pytest.fixture(scope="module")
def box(place: Place) -> Iterator[httpx.Client]:
    """A station with parts, some with words, and one whose file has gone."""
    with station_at(place) as url, client_of(f"{url}v1/") as client:
        for seed in range(NUMBER):
            place.drop(f"{seed:02d}.png", KINDS[seed % 3], seed)
        until(lambda: client.get("line").json()["counts"]["seen"] == NUMBER)
        parts = {one["name"]: one["id"] for one in client.get("parts").json()["parts"]}
        for name, word, defect in (
            ("01.png", "wrong", ""),
            ("02.png", "right", "=spot"),
            ("03.png", "wrong", "dent/../.."),
        ):
            body = {"word": word, "defect_type": defect}
            assert client.post(f"parts/{parts[name]}/feedback", json=body).status_code == 200
        client.post("inspect", content=picture(28), params={"record": True, "name": "api.png"})
        (place.incoming / "04.png").unlink()
        yield client


def names(box: httpx.Client, **where: object) -> list[str]:
    answer = box.get("parts", params={"limit": 100, **where})  # type: ignore[dict-item]
    assert answer.status_code == 200, answer.text
    return [one["name"] for one in answer.json()["parts"]]


def test_parts_by_score_source_and_word(box: httpx.Client) -> None:
    good = names(box, max_score=0.5)
    assert len(good) == NUMBER // 3
    assert sorted(good + names(box, min_score=0.5)) == sorted(names(box))
    assert "api.png" not in names(box, camera="left")
    assert names(box, word="wrong", min_score=0.5) == ["01.png"]
    assert "min_score" in problem(box.get("parts", params={"min_score": 2}), 422)


def rows(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode())))


def test_the_table_is_what_the_list_says_and_no_cell_of_it_is_a_formula(box: httpx.Client) -> None:
    answer = box.get("export/parts.csv", params={"camera": "left"})
    assert answer.headers["content-type"].startswith("text/csv")
    found = rows(answer.content)
    assert [one["name"] for one in found] == names(box, camera="left")
    told = {one["name"]: one for one in found}
    assert (told["01.png"]["verdict"], told["01.png"]["truth"]) == ("anomalous", "good")
    assert told["02.png"]["word_defect_type"] == "'=spot"
    # A negative number stays one.
    assert all(float(one["raw_score"]) >= 0 for one in found)


def test_the_archive_is_a_tree_to_train_from(box: httpx.Client, place: Place) -> None:
    content = box.get("export/parts.zip").content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        listed = [Path(one) for one in archive.namelist() if one.endswith(".png")]
        left_out = {one["name"]: one["why"] for one in rows(archive.read("left_out.csv"))}
        kept = rows(archive.read("parts.csv"))
        (one,) = [path for path in listed if path.name.startswith("02-")]
        assert archive.read(str(one)) == (place.incoming / "02.png").read_bytes()
    assert left_out == {"04.png": "its picture is gone", "api.png": "its picture is gone"}
    assert len(listed) == len(kept) == NUMBER - 1
    folders = Counter(path.parent.as_posix() for path in listed)
    # By what they are, whatever the verdict was; the names of defects are plain ones.
    assert folders["tile/test/spot"] == folders["tile/test/dent"] == 1
    assert {path.parent.parent.name for path in listed if path.name.startswith("01-")} <= {
        "train",
        "test",
    }
    assert all(path.parent.name == "good" for path in listed if path.name.startswith("01-"))
    good = folders["tile/train/good"] + folders["tile/test/good"]
    assert good == sum(row["truth"] == "good" for row in kept)
    assert all(".." not in path.parts for path in listed)


def test_a_share_of_the_good_parts_is_for_the_test_and_always_the_same() -> None:
    points = [one for one in make_points(2000) if one.verdict == "good"]

    def places(found: list[PartPoint]) -> list[str]:
        return [place_in_tree(one, "a.png") or "" for one in found]

    counts = Counter(one.split("/")[1] for one in places(points))
    assert 0.15 < counts["test"] / len(points) < 0.25
    assert places(points) == places(points)
    assert len(set(places(points))) == len(points)


@pytest.mark.slow
def test_frames_that_were_kept_are_in_the_archive_and_shown_whole(tmp_path: Path) -> None:
    tables = '[[sources]]\nname = "video"\nwatch = "parts.avi"\n[pictures]\nkeep = "all"\n'
    place = place_at(tmp_path, tables)
    video_of(tmp_path / "parts.avi", 128, 0)
    for _ in range(2):
        # The second time nothing is at hand, and nothing is judged again.
        with station_at(place) as url, client_of(f"{url}v1/") as client:
            until(lambda box=client: box.get("line").json()["counts"]["seen"] == 2)
            content = client.get("export/parts.zip", params={"camera": "video"}).content
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                found = sorted(one for one in archive.namelist() if one.endswith(".jpg"))
            assert ["tile/test/anomalous/parts-avi-1-" in one for one in found] == [True, False]
            parts = client.get("parts").json()["parts"]
            outlines = [client.get(f"parts/{one['id']}/outline").json() for one in parts]
            assert [one["whole"] for one in outlines] == [True, True]


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", SCREEN)
        yield browser


def tiles(window: webdriver.Chrome) -> int:
    return len(find(window, "#parts li"))


@pytest.mark.slow
def test_a_wrong_verdict_is_found_again_and_taken_back(
    box: httpx.Client, window: webdriver.Chrome
) -> None:
    site = str(box.base_url).removesuffix("v1/")
    window.get(f"{site}history?lang=en")
    wait_until(window, lambda: tiles(window) == NUMBER + 1)
    assert low_contrasts(window) == []
    for option in find(window, "select[name=word] option"):
        if option.get_attribute("value") == "wrong":
            option.click()
    wait_until(window, lambda: tiles(window) == 2)
    # The address is the filter: a reload shows the same.
    assert "word=wrong" in window.current_url
    window.refresh()
    wait_until(window, lambda: tiles(window) == 2)
    assert find(window, "#csv")[0].get_attribute("href").endswith("parts.csv?word=wrong")

    find(window, "#parts a")[-1].click()
    wait_until(window, lambda: verdict(window) == "anomalous" and "01.png" in text(window, "#part"))
    assert "Good" in text(window, "#facts")
    wait_until(window, lambda: find(window, "#outline polygon"))
    find(window, "body")[0].send_keys("z")
    wait_until(window, lambda: "taken back" in text(window, "#toast"))
    assert len(find(window, "#history li")) == 2
    assert low_contrasts(window) == []
    # The part's own address leads to it, in another window as well.
    address = window.current_url
    assert "/parts/" in address
    window.get("about:blank")
    window.get(address)
    wait_until(window, lambda: "01.png" in text(window, "#part"))
    find(window, "#back")[0].click()
    wait_until(window, lambda: tiles(window) == NUMBER + 1)
    assert [one for one in window.get_log("browser") if one["level"] == "SEVERE"] == []


@pytest.mark.slow
def test_an_address_of_no_part_says_so(box: httpx.Client, window: webdriver.Chrome) -> None:
    site = str(box.base_url).removesuffix("v1/")
    window.get(f"{site}parts/00000000-0000-4000-8000-000000000000?lang=en")
    wait_until(window, lambda: text(window, "#word") == "NOT FOUND")
    assert "expected the id of a recorded part" in text(window, "#trouble")
    assert not find(window, "#agree")[0].is_enabled()
