"""The screen for single pictures in a real browser: two models, a webcam, two operators."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from selenium import webdriver
from selenium.webdriver.common.keys import Keys

from edge_app.line import Line
from edge_app.serving import serving
from runtime.errors import StoreError
from tests.edge_app.browser import chromium, find, wait_until
from tests.edge_app.live.test_line_screen import SCREEN, SHIFTS, press, serious, text, verdict
from tests.edge_app.served import client_of
from tests.edge_app.tiny_bundle import write_part, write_tiny_bundle

pytestmark = pytest.mark.slow

TABLETS = [
    {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": True}
    for width, height in ((768, 1024), (1024, 768))
]
# Files come, as from another window; what the banner says in the same moment is told.
COME = """
const [names, how] = arguments, data = new DataTransfer();
for (const name of names) {
  const bytes = Uint8Array.from(atob(name.content), (sign) => sign.charCodeAt(0));
  data.items.add(new File([bytes], name.name));
}
if (how === "drop") {
  document.querySelector("#like").dispatchEvent(
    new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
} else {
  document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
}
return document.querySelector("#banner").dataset.verdict;
"""


@dataclass
class Box:
    url: str
    root: Path
    stack: ExitStack

    def picture(self, name: str, seed: int, kind: str) -> Path:
        path = self.root / "own" / name
        write_part(path, seed, kind, side=256)
        return path

    def api(self) -> httpx.Client:
        return client_of(f"{self.url}v1/")


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    root = tmp_path_factory.mktemp("inspect")
    for seed in range(6):
        kind = ("good", "dark", "bright")[seed % 3]
        write_part(root / "parts" / "tile" / "test" / kind / f"{seed}.png", seed, kind, side=256)
    bundles = [
        write_tiny_bundle(root / name, gain=gain) for name, gain in (("tile-a", 1.0), ("b", 2.0))
    ]
    with ExitStack() as stack:
        served = serving(bundles, str(root / "store"), samples=root / "parts", port=0)
        yield Box(stack.enter_context(served), root, stack)


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", SCREEN)
        yield browser


def opened(window: webdriver.Chrome, box: Box, query: str = "") -> None:
    window.get(f"{box.url}inspect{query}")
    wait_until(window, lambda: find(window, "#first button img"))


def come(window: webdriver.Chrome, *paths: Path, how: str = "drop") -> str:
    files = [
        {"name": one.name, "content": base64.b64encode(one.read_bytes()).decode()} for one in paths
    ]
    return str(window.execute_script(COME, files, how))


def shows(window: webdriver.Chrome, kind: str, name: str) -> None:
    wait_until(window, lambda: verdict(window) == kind and name in text(window, "#part"))


def width_of(window: webdriver.Chrome, css: str) -> int:
    return int(
        window.execute_script("return document.querySelector(arguments[0]).naturalWidth", css)
    )


def modes(window: webdriver.Chrome) -> list[str]:
    return [one.text for one in find(window, "#modes button")]


def test_a_part_is_inspected_understood_corrected_and_found_again(
    box: Box, window: webdriver.Chrome
) -> None:
    opened(window, box)
    # Something to compare with.
    for sample in find(window, "#first button")[1:4]:
        window.execute_script("arguments[0].click()", sample)
        wait_until(window, lambda: verdict(window) in ("good", "anomalous"))
    assert come(window, box.picture("mine.png", 31, "dark")) == "none"
    shows(window, "anomalous", "mine.png")
    assert "over the limit" in text(window, "#gauge")
    # Where, how large, and what it looks like.
    wait_until(window, lambda: find(window, "#outline polygon.edge"))
    assert text(window, ".size").endswith("px")
    wait_until(window, lambda: find(window, "#cards button.large"))
    # The score among those of good parts.
    wait_until(window, lambda: find(window, "#spread line.this"))
    assert "good parts" in text(window, "#spread")

    # The other model of this kind of part has seen the same picture.
    wait_until(window, lambda: len(modes(window)) == 4)
    assert modes(window)[:3] == ["Outline", "Heat map", "Side by side"]
    assert "Reject" in modes(window)[3]
    for number in (2, 3):
        find(window, "#modes button")[number].click()
        assert find(window, "#beside")[0].is_displayed()
        wait_until(window, lambda: width_of(window, "#bare") == 256)
    press(window, "v")
    assert not find(window, "#beside")[0].is_displayed()
    assert not find(window, "#heat")[0].is_displayed()

    # A neighbor large beside it: both heat maps, one zoom, the next one by an arrow.
    find(window, "#cards button")[0].click()
    wait_until(window, lambda: len(find(window, "#compare .heat[src]")) == 2)
    assert serious(window) == []
    first = find(window, "#compare figcaption a")[1].get_attribute("href")
    find(window, "#compare button")[0].send_keys(Keys.ARROW_RIGHT)
    wait_until(
        window, lambda: find(window, "#compare figcaption a")[1].get_attribute("href") != first
    )
    window.execute_script(
        "document.querySelector('.pane').dispatchEvent("
        "new WheelEvent('wheel', { deltaY: -400, bubbles: true, cancelable: true }))"
    )
    turned = "return [...document.querySelectorAll('.layers')].map((e) => getComputedStyle(e)"
    both = window.execute_script(f"{turned}.transform)")
    assert both[0] == both[1] != "none"
    find(window, "#compare button")[0].send_keys(Keys.ESCAPE)
    wait_until(window, lambda: not find(window, "#compare[open]"))

    # Wrong: corrected with a key, and found in the history behind the link.
    press(window, "k")
    wait_until(window, lambda: "overruled" in text(window, "#toast"))
    assert find(window, "#overrule")[0].get_attribute("aria-pressed") == "true"
    find(window, "#toast a")[0].click()
    wait_until(window, lambda: find(window, "#history li"))
    assert "wrong" in text(window, "#history")
    assert "Overruled, it is: Good" in text(window, "#said")
    assert text(window, "#part") == "mine.png"


def test_the_bundle_stands_in_the_address(box: Box, window: webdriver.Chrome) -> None:
    opened(window, box)
    come(window, box.picture("kept.png", 5, "dark"))
    shows(window, "anomalous", "kept.png")
    script = (
        "const s = document.querySelector('#bundle'); s.value = 'b';"
        "s.dispatchEvent(new Event('change')); return document.querySelector('#banner').dataset"
    )
    # The former bundle's verdict is gone at once; the same picture is judged by the other one.
    assert window.execute_script(script)["verdict"] == "none"
    shows(window, "anomalous", "kept.png")
    assert window.current_url.endswith("?bundle=b")
    window.refresh()
    wait_until(window, lambda: find(window, "#first button img"))
    assert find(window, "#bundle")[0].get_attribute("value") == "b"
    # No other one judges in the place of one that is not there.
    window.get(f"{box.url}inspect?bundle=c")
    wait_until(window, lambda: "No bundle is called c" in text(window, "#said"))
    come(window, box.picture("kept.png", 5, "dark"))
    assert find(window, "#strip li") == []


def test_whatever_comes_is_judged_or_refused_in_a_sentence(
    box: Box, window: webdriver.Chrome
) -> None:
    opened(window, box)
    three = [box.picture(f"{n}.png", 40 + n, kind) for n, kind in enumerate(("good", "dark", "x"))]
    find(window, "#files")[0].send_keys("\n".join(map(str, three)))
    wait_until(window, lambda: len(find(window, "#strip li.good, #strip li.anomalous")) == 3)
    assert "3 pictures" in text(window, "#toast")
    shows(window, "good", "0.png")
    press(window, Keys.ARROW_RIGHT)
    shows(window, "anomalous", "1.png")
    # From the clipboard.
    assert come(window, box.picture("pasted.png", 50, "bright"), how="paste") == "none"
    shows(window, "anomalous", "pasted.png")
    # No picture at all; one that is far too large, which is not sent.
    (box.root / "notes.png").write_text("no picture")
    come(window, box.root / "notes.png")
    wait_until(window, lambda: text(window, "#word") == "NO PICTURE")
    assert "expected" in text(window, "#said")
    assert not find(window, "#agree")[0].is_enabled()
    with (box.root / "huge.png").open("wb") as huge:
        huge.truncate(201 << 20)
    find(window, "#files")[0].send_keys(str(box.root / "huge.png"))
    wait_until(window, lambda: "201 MiB" in text(window, "#said"))
    # A webcam: here its test pattern.
    find(window, "#webcam")[0].click()
    playing = "return document.querySelector('#video').videoWidth"
    wait_until(window, lambda: window.execute_script(playing))
    press(window, Keys.ENTER)
    wait_until(window, lambda: "webcam-" in text(window, "#part") and verdict(window) != "none")
    assert not find(window, "#video")[0].is_displayed()


def test_nothing_moves_and_everybody_can_use_it(box: Box, window: webdriver.Chrome) -> None:
    opened(window, box)
    fixed = ("#banner", "#stage", "#like", "#agree", "#overrule", "#undo", "#strip")
    before = [find(window, css)[0].rect for css in fixed]
    assert serious(window) == []
    come(window, box.picture("still.png", 60, "dark"))
    wait_until(window, lambda: len(modes(window)) == 4 and find(window, "#spread line"))
    assert [find(window, css)[0].rect for css in fixed] == before
    assert serious(window) == []
    assert window.execute_async_script(SHIFTS) < 0.1
    script = "const e = document.documentElement; return [e.scrollWidth, e.scrollHeight]"
    assert window.execute_script(script) == [1280, 720]
    try:
        for size in TABLETS:
            window.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            opened(window, box)
            come(window, box.root / "own" / "still.png")
            shows(window, "anomalous", "still.png")
            wait_until(window, lambda: find(window, "#cards > *"))
            assert window.execute_script(script)[0] <= size["width"], size
            assert serious(window) == [], size
    finally:
        window.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", SCREEN)


def test_two_at_once_a_lost_store_and_a_box_that_goes(
    box: Box, window: webdriver.Chrome, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(window, box)
    first = window.current_window_handle
    come(window, box.picture("left.png", 70, "dark"))
    shows(window, "anomalous", "left.png")
    window.switch_to.new_window("tab")
    window.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", SCREEN)
    opened(window, box)
    come(window, box.picture("right.png", 71, "good"))
    shows(window, "good", "right.png")
    press(window, "j")
    wait_until(window, lambda: "agreed" in text(window, "#toast"))
    window.close()
    window.switch_to.window(first)
    shows(window, "anomalous", "left.png")
    press(window, "k")
    wait_until(window, lambda: "overruled" in text(window, "#toast"))
    with box.api() as api:
        known = {one["name"]: one["word"] for one in api.get("parts").json()["parts"]}
    assert (known["left.png"], known["right.png"]) == ("wrong", "right")

    # Nothing can be recorded: the verdict comes all the same, and nobody can say anything.
    def lost(*_: object) -> None:
        raise StoreError("expected a store, found none; start it")

    monkeypatch.setattr(Line, "keep", lost)
    come(window, box.picture("lost.png", 72, "dark"))
    shows(window, "anomalous", "lost.png")
    assert "Not recorded: expected a store" in text(window, "#trouble")
    assert not find(window, "#agree")[0].is_enabled()

    # The box goes: grey within seconds, and what is dropped now waits.
    box.stack.close()
    wait_until(window, lambda: text(window, "#word") == "NOT LIVE")
    assert verdict(window) == "none"
    come(window, box.root / "own" / "left.png")
    assert text(window, "#word") == "NOT LIVE"
    assert not any(one.is_enabled() for one in find(window, "#words > button"))
