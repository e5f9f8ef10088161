"""The operator's page in a real browser, on a real model, with a real Qdrant store."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import pytest
from selenium import webdriver
from selenium.webdriver import ActionChains

from tests.edge_app.browser import chromium, find, wait_until

pytestmark = pytest.mark.slow


@dataclass
class Running:
    url: str
    process: subprocess.Popen[str]
    store: Path
    bundle: Path


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, patchcore_bundle: Path, sample_root: Path
) -> Iterator[Running]:
    store = tmp_path_factory.mktemp("page") / "neighbours"
    lineside = [sys.executable, "-P", "-m", "lineside"]
    subprocess.run(
        [
            *lineside,
            "index",
            str(patchcore_bundle),
            "--images",
            str(sample_root / "tile" / "test"),
            "--store",
            str(store),
        ],
        check=True,
        capture_output=True,
    )
    process = subprocess.Popen(
        [
            *lineside,
            "app",
            str(patchcore_bundle),
            "--store",
            str(store),
            "--samples",
            str(sample_root),
            "--port",
            "0",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    if not url.startswith("http"):
        process.kill()
        raise RuntimeError(process.communicate()[1])
    yield Running(url, process, store, patchcore_bundle)
    if process.poll() is None:
        process.kill()


@pytest.fixture(scope="module")
def window(
    running: Running, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        browser.get(running.url)
        wait_until(browser, lambda: find(browser, ".ls-verdict"))
        yield browser


def upload(window: webdriver.Chrome, path: Path) -> None:
    # The field is empty again after each picture, so the next one needs no click before it.
    wait_until(window, lambda: find(window, "#ls-upload input[type=file]"))
    find(window, "#ls-upload input[type=file]")[0].send_keys(str(path))


def test_a_sample_is_judged_at_once_with_five_neighbors(window: webdriver.Chrome) -> None:
    verdict = find(window, ".ls-verdict")[0]
    assert verdict.get_attribute("data-verdict") in ("anomalous", "good")
    assert "threshold" in verdict.text
    assert len(find(window, ".ls-card")) == 5
    assert all("% alike" in card.text for card in find(window, ".ls-card"))
    # Pictures that the browser could really decode, the heat map among them.
    sizes = window.execute_script(
        "return [...document.querySelectorAll('.ls-pictures img, .ls-card img')].map(i => "
        "i.naturalWidth)"
    )
    assert len(sizes) == 8
    assert min(sizes) >= 100


def test_a_screenshot_shows_all_of_it_at_once(window: webdriver.Chrome, tmp_path: Path) -> None:
    picture = Path(os.environ.get("LINESIDE_SCREENSHOTS", str(tmp_path))) / "page.png"
    assert window.save_screenshot(str(picture))
    image = cv2.imread(str(picture))
    assert image.shape[1] == 1440
    # Verdict, pictures and all five cards lie within the window, and none of them is blank.
    for css in (".ls-verdict", ".ls-pictures figure", ".ls-card"):
        for element in find(window, css):
            box = element.rect
            assert box["y"] + box["height"] <= image.shape[0]
            top, left = int(box["y"]), int(box["x"])
            inside = image[top : top + int(box["height"]), left : left + int(box["width"])]
            assert inside.std() > 10


def test_the_slider_fades_the_heat_map(window: webdriver.Chrome) -> None:
    slider = find(window, ".ls-pictures input[type=range]")[0]
    window.execute_script(
        "arguments[0].value = 0; arguments[0].dispatchEvent(new Event('input'))", slider
    )
    assert find(window, ".ls-heat")[0].value_of_css_property("opacity") == "0"


def test_a_click_on_a_sample_shows_that_part(window: webdriver.Chrome, sample_root: Path) -> None:
    thumbnails = find(window, "#ls-samples button.gallery-item, #ls-samples .thumbnail-item")
    assert len(thumbnails) >= 20
    before = find(window, ".ls-pictures img")[0].get_attribute("src")
    thumbnails[3].click()
    wait_until(window, lambda: find(window, ".ls-pictures img")[0].get_attribute("src") != before)
    assert find(window, ".ls-verdict")


def test_a_box_on_the_part_finds_parts_like_it_and_a_click_goes_back(
    window: webdriver.Chrome,
) -> None:
    def heading() -> str:
        return find(window, ".ls-neighbours h3")[0].text

    def similarities() -> list[str]:
        return [card.text for card in find(window, ".ls-card em")]

    before = similarities()
    part = find(window, ".ls-drag img")[0]
    drag = ActionChains(window).move_to_element_with_offset(part, -40, -40).click_and_hold()
    drag.move_by_offset(30, 20).move_by_offset(30, 30).perform()
    drawn = find(window, ".ls-box")[0]
    assert drawn.is_displayed()
    assert 50 <= drawn.rect["width"] <= 64
    ActionChains(window).release().perform()
    wait_until(window, lambda: heading() == "Earlier parts like the box")
    assert len(find(window, ".ls-card")) == 5
    assert similarities() != before
    part.click()
    wait_until(window, lambda: heading() == "Earlier parts like this one")
    assert similarities() == before
    assert not find(window, ".ls-box")[0].is_displayed()


def test_an_uploaded_part_is_judged_as_on_the_command_line(
    window: webdriver.Chrome, running: Running, sample_root: Path, tmp_path: Path
) -> None:
    # Another name, so that the page cannot know what the folder would have told it.
    picture = tmp_path / "uploaded <b>part.png"
    picture.write_bytes((sample_root / "tile" / "test" / "oil" / "001.png").read_bytes())
    done = subprocess.run(
        [
            sys.executable,
            "-P",
            "-m",
            "lineside",
            "inspect",
            str(running.bundle),
            str(picture),
            "--json",
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    expected = json.loads(done.stdout)
    upload(window, picture)
    wait_until(window, lambda: "part.png" in find(window, ".ls-pictures figcaption")[0].text)
    verdict = find(window, ".ls-verdict")[0]
    assert verdict.get_attribute("data-verdict") == expected["verdict"]
    shown = re.search(r"raw score ([\d.]+)", verdict.text)
    assert shown is not None
    assert float(shown.group(1)) == pytest.approx(expected["pred_score"], abs=1e-3)


def test_the_operators_word_is_stored_and_an_edited_threshold_counts_at_once(
    window: webdriver.Chrome, running: Running, sample_root: Path, tmp_path: Path
) -> None:
    picture = tmp_path / "new.png"
    # One pixel apart from a known part: another picture, so another point.
    image = cv2.imread(str(sample_root / "tile" / "test" / "crack" / "000.png"))
    image[0, 0] ^= 255
    cv2.imwrite(str(picture), image)
    upload(window, picture)
    wait_until(window, lambda: "new.png" in find(window, ".ls-pictures figcaption")[0].text)
    find(window, "#ls-right")[0].click()
    wait_until(window, lambda: find(window, ".ls-recorded"))
    total = re.search(r"(\d+) parts in memory", find(window, ".ls-recorded")[0].text)
    assert total is not None
    assert int(total.group(1)) == 27
    # A slip of the finger: the other word can still be given, and counts.
    assert not find(window, "#ls-right")[0].is_enabled()
    find(window, "#ls-wrong")[0].click()
    wait_until(window, lambda: "is wrong" in find(window, ".ls-recorded")[0].text)
    assert "27 parts in memory" in find(window, ".ls-recorded")[0].text
    assert find(window, "#ls-right")[0].is_enabled()

    subprocess.run(
        [
            sys.executable,
            "-P",
            "-m",
            "lineside",
            "thresholds",
            str(running.bundle),
            "set",
            "--image-threshold",
            "99999",
        ],
        check=True,
        capture_output=True,
    )
    try:
        upload(window, picture)
        wait_until(window, lambda: find(window, ".ls-verdict.ls-good"))
        # The word was on the part as it was shown before.
        assert not find(window, ".ls-recorded")
        assert "99999" in find(window, ".ls-verdict")[0].text
    finally:
        subprocess.run(
            [sys.executable, "-P", "-m", "lineside", "thresholds", str(running.bundle), "rollback"],
            check=True,
            capture_output=True,
        )


@pytest.mark.parametrize("content", [b"", b"no picture at all", b"\x89PNG\r\n\x1a\n" + b"\0" * 64])
def test_a_bad_upload_says_what_was_expected(
    window: webdriver.Chrome, tmp_path: Path, content: bytes
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(content)
    upload(window, broken)
    wait_until(window, lambda: find(window, ".ls-warning"))
    assert "expected" in find(window, ".ls-warning")[0].text
    assert not find(window, ".ls-verdict")
    assert not find(window, "#ls-right")[0].is_enabled()


def test_nothing_was_asked_of_any_other_machine(window: webdriver.Chrome) -> None:
    asked = [
        message["params"]["request"]["url"]
        for entry in window.get_log("performance")
        if (message := json.loads(entry["message"])["message"])["method"]
        == "Network.requestWillBeSent"
    ]
    # The browser's own pages (chrome://) travel nowhere.
    travelling = [url for url in asked if url.startswith(("http:", "https:", "ws:", "wss:"))]
    assert travelling
    assert [url for url in travelling if not url.startswith("http://127.0.0.1")] == []


def test_ctrl_c_ends_the_page_and_keeps_what_was_remembered(
    running: Running, window: webdriver.Chrome
) -> None:
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(timeout=60) == 0
    picture = next((running.bundle / "golden").glob("*.png"))
    done = subprocess.run(
        [
            sys.executable,
            "-P",
            "-m",
            "lineside",
            "index",
            str(running.bundle),
            "--images",
            str(picture.parent),
            "--store",
            str(running.store),
            "--json",
        ],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ},
    )
    assert json.loads(done.stdout)["total"] >= 27
