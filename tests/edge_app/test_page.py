"""The operator's page in a real browser, on a real engine, with a real Qdrant store."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import pytest
from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By

from edge_app.screens.pages import ASSETS
from edge_app.serving import serving
from tests.cli import COMMAND, lineside
from tests.edge_app.browser import chromium, find, wait_until
from tests.edge_app.live.test_line_screen import SHIFTS
from tests.edge_app.tiny_bundle import write_part, write_tiny_bundle

pytestmark = pytest.mark.slow

INDEXED = 26


@dataclass
class Running:
    url: str
    process: subprocess.Popen[str]
    store: Path
    bundle: Path
    parts: Path


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("page")
    bundle, parts = write_tiny_bundle(folder / "tile-tiny"), folder / "parts"
    for seed in range(INDEXED):
        kind = ("good", "dark", "bright")[seed % 3]
        write_part(parts / "tile" / "test" / kind / f"{seed:03d}.png", seed, kind, side=256)
    store = folder / "neighbours"
    done = lineside("index", bundle, "--images", parts / "tile" / "test", "--store", store)
    assert done.returncode == 0, done.stderr
    arguments = [bundle, "--store", store, "--samples", parts, "--port", 0]
    process = subprocess.Popen(
        [*COMMAND, "app", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    if not url.startswith("http"):
        process.kill()
        raise RuntimeError(process.communicate()[1])
    yield Running(url, process, store, bundle, parts / "tile" / "test")
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


def shown_name(window: webdriver.Chrome) -> str:
    return find(window, ".ls-pictures figcaption")[0].text


def test_a_sample_is_judged_at_once_with_five_neighbors(window: webdriver.Chrome) -> None:
    verdict = find(window, ".ls-verdict")[0]
    assert verdict.get_attribute("data-verdict") == "anomalous"
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
    # It is read from two metres.
    assert find(window, ".ls-word")[0].rect["height"] >= 40


def test_the_slider_fades_the_heat_map(window: webdriver.Chrome) -> None:
    slider = find(window, ".ls-pictures input[type=range]")[0]
    window.execute_script(
        "arguments[0].value = 0; arguments[0].dispatchEvent(new Event('input'))", slider
    )
    assert find(window, ".ls-heat")[0].value_of_css_property("opacity") == "0"


def test_a_click_on_a_sample_shows_that_part(window: webdriver.Chrome) -> None:
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
    window: webdriver.Chrome, running: Running, tmp_path: Path
) -> None:
    # Another name, so that the page cannot know what the folder would have told it.
    picture = tmp_path / "uploaded <b>part.png"
    picture.write_bytes((running.parts / "dark" / "001.png").read_bytes())
    expected = json.loads(lineside("inspect", running.bundle, picture, "--json").stdout)
    upload(window, picture)
    wait_until(window, lambda: "part.png" in shown_name(window))
    verdict = find(window, ".ls-verdict")[0]
    assert verdict.get_attribute("data-verdict") == expected["verdict"]
    shown = re.search(r"raw score ([\d.]+)", verdict.text)
    assert shown is not None
    assert float(shown.group(1)) == pytest.approx(expected["pred_score"], abs=1e-3)


# Files come, as from another window, beside the field.
COME = """
const [names, how] = arguments, data = new DataTransfer();
for (const name of names) {
  const bytes = Uint8Array.from(atob(name.content), (sign) => sign.charCodeAt(0));
  data.items.add(new File([bytes], name.name));
}
const all = { bubbles: true, cancelable: true };
const event = how === "drop" ? new DragEvent("drop", { dataTransfer: data, ...all })
  : new ClipboardEvent("paste", { clipboardData: data, ...all });
document.querySelector("#ls-around").dispatchEvent(event);
return event.defaultPrevented;
"""


def come(window: webdriver.Chrome, how: str, *paths: Path) -> None:
    files = [
        {"name": one.name, "content": base64.b64encode(one.read_bytes()).decode()} for one in paths
    ]
    # Else the browser would open the file in the page's place.
    assert window.execute_script(COME, files, how)


def test_a_picture_dropped_anywhere_or_pasted_is_judged_and_of_several_none(
    window: webdriver.Chrome, tmp_path: Path
) -> None:
    paths = [tmp_path / name for name in ("dropped.png", "pasted.png", "third.png")]
    for seed, path in enumerate(paths):
        write_part(path, 1500 + seed, "dark", side=256)
    for how, path in zip(("drop", "paste"), paths, strict=False):
        wait_until(window, lambda: find(window, "#ls-upload input[type=file]"))
        come(window, how, path)
        wait_until(window, lambda path=path: path.name in shown_name(window))
        wait_until(window, lambda: banner_state(window) == (True, False, True))
    come(window, "drop", *paths)
    told = find(window, "#ls-told")[0]
    assert "One picture at a time here; found 3, none of them judged." in told.text
    assert told.find_element(By.TAG_NAME, "a").get_attribute("href").endswith("/inspect")
    assert "pasted.png" in shown_name(window)
    wait_until(window, lambda: find(window, "#ls-upload input[type=file]"))
    come(window, "drop", paths[2])
    wait_until(window, lambda: "third.png" in shown_name(window))
    assert not find(window, "#ls-told")


def test_the_page_stands_still_while_it_loads_and_has_our_name_and_icon(
    window: webdriver.Chrome,
) -> None:
    window.refresh()
    wait_until(window, lambda: find(window, ".ls-verdict"))
    assert window.execute_async_script(SHIFTS) < 0.1
    assert window.title == "Lineside"
    icon = window.execute_async_script(
        "const done = arguments[0], icon = document.querySelector('link[rel~=icon]');"
        "fetch(icon ? icon.href : 'favicon.ico').then((r) => r.text()).then(done);"
    )
    assert icon == (ASSETS / "icon.svg").read_text(encoding="utf-8")


def test_the_operators_word_is_stored_and_an_edited_threshold_counts_at_once(
    window: webdriver.Chrome, running: Running, tmp_path: Path
) -> None:
    picture = tmp_path / "new.png"
    write_part(picture, 1000, "dark", side=256)
    upload(window, picture)
    wait_until(window, lambda: "new.png" in shown_name(window))
    find(window, "#ls-right")[0].click()
    wait_until(window, lambda: find(window, ".ls-recorded"))
    assert f"{INDEXED + 1} parts in memory" in find(window, ".ls-recorded")[0].text
    # A slip of the finger: the other word can still be given, and counts.
    assert not find(window, "#ls-right")[0].is_enabled()
    find(window, "#ls-wrong")[0].click()
    wait_until(window, lambda: "is wrong" in find(window, ".ls-recorded")[0].text)
    assert f"{INDEXED + 1} parts in memory" in find(window, ".ls-recorded")[0].text
    assert find(window, "#ls-right")[0].is_enabled()

    lineside("thresholds", running.bundle, "set", "--image-threshold", "99999")
    try:
        upload(window, picture)
        wait_until(window, lambda: find(window, ".ls-verdict.ls-good"))
        # The word was on the part as it was shown before.
        assert not find(window, ".ls-recorded")
        assert "99999" in find(window, ".ls-verdict")[0].text
    finally:
        lineside("thresholds", running.bundle, "rollback")


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


def banner_state(window: webdriver.Chrome) -> tuple[bool, bool, bool]:
    """Whether one sees a verdict, the grey banner, and the buttons."""
    css = ("#ls-banner .ls-verdict", ".ls-waiting", "#ls-words")
    return tuple(any(one.is_displayed() for one in find(window, name)) for name in css)


def test_from_the_choice_of_a_picture_to_its_verdict_no_old_one_stands(
    window: webdriver.Chrome, running: Running, tmp_path: Path
) -> None:
    old = tmp_path / "old.png"
    write_part(old, 2000, "dark", side=256)
    upload(window, old)
    wait_until(window, lambda: "old.png" in shown_name(window))
    wait_until(window, lambda: banner_state(window) == (True, False, True))
    # A network on which the picture takes seconds to travel.
    slow = {
        "offline": False,
        "latency": 1500,
        "downloadThroughput": 10**6,
        "uploadThroughput": 10**6,
    }
    window.execute_cdp_cmd("Network.enable", {})
    window.execute_cdp_cmd("Network.emulateNetworkConditions", slow)
    try:
        new = tmp_path / "new part.png"
        write_part(new, 2001, "good", side=256)
        upload(window, new)
        assert banner_state(window) == (False, True, False)
        assert "Judging" in find(window, ".ls-waiting")[0].text
        assert "old.png" in shown_name(window)
        window.execute_cdp_cmd("Network.emulateNetworkConditions", {**slow, "latency": 0})
        wait_until(window, lambda: "new part.png" in shown_name(window))
        wait_until(window, lambda: banner_state(window) == (True, False, True))
        # No network at all: what is shown is not live, and says so.
        gone = {**slow, "offline": True}
        window.execute_cdp_cmd("Network.emulateNetworkConditions", gone)
        wait_until(window, lambda: "does not answer" in find(window, ".ls-waiting")[0].text)
        assert banner_state(window) == (False, True, False)
        window.execute_cdp_cmd("Network.emulateNetworkConditions", {**slow, "latency": 0})
        wait_until(window, lambda: banner_state(window) == (True, False, True))
    finally:
        window.execute_cdp_cmd("Network.disable", {})


def test_the_browser_finds_nothing_that_the_pages_own_policy_forbids(
    window: webdriver.Chrome,
) -> None:
    said = [entry["message"] for entry in window.get_log("browser")]
    assert [message for message in said if "Content Security Policy" in message] == []


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
    temporary = running.store.parent
    assert len(list(temporary.glob("lineside-page-*"))) == 1
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(timeout=60) == 0
    assert list(temporary.glob("lineside-page-*")) == []
    arguments = [running.bundle, "--images", running.parts, "--store", running.store, "--json"]
    assert json.loads(lineside("index", *arguments).stdout)["total"] == INDEXED + 1


def test_a_proxy_shows_the_page_below_a_path(
    window: webdriver.Chrome, running: Running, tmp_path: Path
) -> None:
    store = str(tmp_path / "store")
    line = serving([running.bundle], store, samples=running.parts, port=0, root_path="/line3/")
    with line as url, proxy_below("/line3/", url) as below:
        window.get(below)
        wait_until(window, lambda: find(window, ".ls-verdict"))
        upload(window, running.parts / "good" / "000.png")
        wait_until(window, lambda: "000.png" in shown_name(window))
        find(window, "#ls-right")[0].click()
        wait_until(window, lambda: find(window, ".ls-recorded"))
        assert "1 parts in memory" in find(window, ".ls-recorded")[0].text
        # The samples' thumbnails are files of Gradio's.
        width = "return document.querySelector('#ls-samples img').naturalWidth"
        wait_until(window, lambda: window.execute_script(width) == 200)


@contextmanager
def proxy_below(path: str, url: str) -> Iterator[str]:
    """Show a server below a path, as nginx does: ``location PATH { proxy_pass URL; }``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not self.path.startswith(path):
                self.send_error(404)
                return
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            server = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
            inside = "/" + self.path.removeprefix(path)
            server.request(self.command, inside, body, dict(self.headers))
            answer = server.getresponse()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.end_headers()
            while piece := answer.read1(65536):
                self.wfile.write(piece)
            server.close()

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    proxy.daemon_threads = True
    threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{proxy.server_port}{path}"
    finally:
        proxy.shutdown()
        proxy.server_close()


def test_the_chosen_model_stands_in_the_address_and_a_reload_keeps_it(
    window: webdriver.Chrome, running: Running, tmp_path: Path
) -> None:
    other = write_tiny_bundle(tmp_path / "tile-other", gain=2.0)
    page = serving([running.bundle, other], str(tmp_path / "s"), samples=running.parts, port=0)
    with page as url:

        def threshold() -> str:
            found = re.search(r"threshold ([\d.]+)", find(window, ".ls-verdict")[0].text)
            return "" if found is None else found.group(1)

        window.get(url)
        wait_until(window, lambda: threshold() == "64.000")
        find(window, "#ls-model input")[0].click()
        wait_until(window, lambda: find(window, "ul[role=listbox] li"))
        find(window, "ul[role=listbox] li")[1].click()
        wait_until(window, lambda: threshold() == "128.000")
        assert urlsplit(window.current_url).query == "bundle=tile-other"
        window.refresh()
        wait_until(window, lambda: threshold() == "128.000")
        assert "tile-other" in str(find(window, "#ls-model input")[0].get_attribute("value"))
        # The next part is judged by it, too.
        upload(window, running.parts / "dark" / "001.png")
        wait_until(window, lambda: "001.png" in shown_name(window))
        assert threshold() == "128.000"
        window.get(f"{url}?bundle=gone")
        wait_until(window, lambda: find(window, "#ls-banner .ls-warning"))
        assert "expected one of tile-tiny, tile-other" in find(window, ".ls-warning")[0].text
