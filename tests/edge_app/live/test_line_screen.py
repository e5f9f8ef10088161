"""The operator's screen in a real browser, on a station in a process of its own."""

from __future__ import annotations

import importlib.resources as resources
import json
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.keys import Keys

from edge_app.records import RECORDS_FILE
from edge_app.screens.pages import ASSETS
from runtime.health.statistics import STATISTICS
from tests.cli import COMMAND
from tests.edge_app.browser import chromium, find, wait_until
from tests.edge_app.live.served import Place, place_at, station_at

BROWSER = pytest.mark.slow
# What a process of its own does.
SLOW_S = 120.0
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
SHIFTS = (
    "const done = arguments[0]; let sum = 0;"
    "new PerformanceObserver((list) => {"
    " for (const one of list.getEntries()) if (!one.hadRecentInput) sum += one.value;"
    "}).observe({ type: 'layout-shift', buffered: true }); setTimeout(() => done(sum), 300);"
)
SCREEN = {"width": 1280, "height": 720, "deviceScaleFactor": 1, "mobile": False}


@dataclass
class Station:
    place: Place
    url: str
    process: subprocess.Popen[str]

    def words(self) -> list[tuple[str, str, str]]:
        """Everything that was said: the part's name, the word, the defect."""
        with sqlite3.connect(self.place.root / "neighbours" / RECORDS_FILE) as records:
            found = records.execute(
                "SELECT path, what, defect FROM words JOIN parts USING (bundle, id) ORDER BY word"
            ).fetchall()
        return [(Path(path).name, what, defect) for path, what, defect in found]


def started(place: Place) -> Station:
    process = subprocess.Popen(
        [*COMMAND, "station", str(place.config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    if not url.startswith("http"):
        process.kill()
        raise RuntimeError(process.communicate()[1])
    return Station(place, url, process)


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    running = started(place_at(tmp_path))
    yield running
    if running.process.poll() is None:
        running.process.kill()
    running.process.communicate()


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", SCREEN)
        yield browser


def text(window: webdriver.Chrome, css: str) -> str:
    return find(window, css)[0].text


def verdict(window: webdriver.Chrome) -> str:
    return str(find(window, "#banner")[0].get_attribute("data-verdict"))


def shows(window: webdriver.Chrome, kind: str, name: str) -> None:
    wait_until(window, lambda: verdict(window) == kind and name in text(window, "#part"))


def press(window: webdriver.Chrome, key: str) -> None:
    find(window, "body")[0].send_keys(key)


def is_there(window: webdriver.Chrome, css: str) -> bool:
    """Whether a picture has arrived whole."""
    script = "const i = document.querySelector(arguments[0]); return i && i.naturalWidth"
    return bool(window.execute_script(script, css))


@BROWSER
def test_the_story_of_a_shift(station: Station, window: webdriver.Chrome) -> None:
    place = station.place
    window.get(station.url)
    wait_until(window, lambda: text(window, "#word") == "NO PART YET")
    place.drop("000.png", "good", 0)
    shows(window, "good", "000.png")
    assert text(window, "#word") == "GOOD"
    assert "under the limit" in text(window, "#gauge")
    # Of a live part nobody can say anything: the next one may take its place.
    assert not find(window, "#agree")[0].is_enabled()

    place.drop("001.png", "dark", 1)
    shows(window, "anomalous", "001.png")
    assert text(window, "#word") == "REJECT"
    assert "over the limit" in text(window, "#gauge")
    wait_until(window, lambda: is_there(window, "#picture") and is_there(window, "#heat"))
    assert find(window, "#outline polygon.edge")
    wait_until(window, lambda: find(window, "#cards .large"))

    # The next verdicts hide nothing.
    place.drop("002.png", "good", 2)
    place.drop("003.png", "bright", 3)
    wait_until(window, lambda: len(find(window, "#strip li")) == 4)
    shows(window, "anomalous", "001.png")
    assert "1 of 2" in text(window, "#said")
    assert len(find(window, "#strip li.waiting")) == 2

    # Overruled; the next one that nobody has looked at comes at once.
    press(window, "k")
    shows(window, "anomalous", "003.png")
    assert station.words() == [("001.png", "wrong", "")]
    assert "001.png: overruled" in text(window, "#toast")
    assert "2 rejected, 1 overruled" in text(window, "#counts")
    press(window, "z")
    wait_until(window, lambda: "taken back" in text(window, "#toast"))
    wait_until(
        window, lambda: "1 of 2" in text(window, "#said") or "2 of 2" in text(window, "#said")
    )
    assert [word for _, word, _ in station.words()] == ["wrong", ""]
    press(window, "j")
    wait_until(window, lambda: "agreed" in text(window, "#toast"))
    press(window, Keys.ENTER)
    # None is left to look at: live again, the newest part.
    wait_until(window, lambda: "live" in text(window, "#said"))
    assert find(window, "#strip li.waiting") == []

    # A click opens a part again, and a word on it is still possible.
    find(window, "#strip li.good button")[0].click()
    shows(window, "good", "002.png")
    press(window, "k")
    wait_until(window, lambda: "overruled" in text(window, "#toast"))
    assert station.words()[-1] == ("002.png", "wrong", "")

    assert window.get_log("browser") == []

    # The box goes: grey at once, and nothing can be said.
    station.process.send_signal(signal.SIGTERM)
    wait_until(window, lambda: verdict(window) == "none")
    assert text(window, "#word") == "NOT LIVE"
    assert not any(button.is_enabled() for button in find(window, "#words > button"))
    _, err = station.process.communicate(timeout=30)
    assert station.process.returncode == 0, err
    assert "every part that was judged is recorded" in err
    assert "Traceback" not in err
    # Of requests to a box that has gone; another story begins without them.
    window.get_log("browser")


@BROWSER
def test_a_part_that_cannot_be_judged_says_what_to_do_and_shows_no_heat_map(
    station: Station, window: webdriver.Chrome
) -> None:
    (station.place.incoming / "broken.png").write_bytes(b"no picture")
    window.get(f"{station.url}?lang=de")
    shows(window, "cannot_judge", "broken.png")
    assert text(window, "#word") == "UNKLAR"
    assert text(window, "#said") == "Das Bild ist nicht lesbar. Kamera prüfen."
    assert find(window, "#heat")[0].get_attribute("src") is None
    assert not find(window, "#gauge")[0].is_displayed()
    assert not find(window, "#agree")[0].is_enabled()
    press(window, Keys.ENTER)
    wait_until(window, lambda: "gesehen" in text(window, "#toast"))


@BROWSER
def test_nothing_scrolls_and_nothing_moves_at_1280_by_720(
    station: Station, window: webdriver.Chrome
) -> None:
    window.get(station.url)
    wait_until(window, lambda: text(window, "#word"))
    fixed = ("#banner", "#stage", "#like", "#agree", "#overrule", "#look", "#undo", "#strip")

    def places() -> list[Any]:
        return [find(window, css)[0].rect for css in fixed]

    before = places()
    for seed, kind in enumerate(["good", "dark", "bright", "good"] * 9):
        station.place.drop(f"{seed:03d}.png", kind, seed)
    wait_until(window, lambda: len(find(window, "#strip li")) == 30)
    wait_until(window, lambda: find(window, "#cards .large"))
    assert places() == before
    script = "const e = document.documentElement; return [e.scrollWidth, e.scrollHeight]"
    assert window.execute_script(script) == [1280, 720]
    # Read from two metres.
    size = window.execute_script(
        "return getComputedStyle(document.querySelector('#word')).fontSize"
    )
    assert size == "96px"
    assert window.execute_async_script(SHIFTS) < 0.1


def serious(window: webdriver.Chrome) -> list[str]:
    """What axe-core finds that keeps somebody from using the screen."""
    axe = pytest.importorskip("axe_core_python")
    window.execute_script((resources.files(axe) / "axe.min.js").read_text(encoding="utf-8"))
    found = window.execute_async_script(
        "const done = arguments[0]; axe.run(document).then((found) => done(found.violations))"
    )
    return [
        f"{one['id']}: {node['html'][:120]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


@BROWSER
def test_every_screen_can_be_used_by_everybody_and_does_not_move(
    station: Station, window: webdriver.Chrome
) -> None:
    root = station.url.removesuffix("line")
    for seed, kind in enumerate(["good", "dark"]):
        station.place.drop(f"{seed}.png", kind, seed)
    window.get(f"{root}line")
    wait_until(window, lambda: find(window, "#cards > *") and len(find(window, "#strip li")) == 2)
    # The engineer's drawer, zoom, and a box: earlier parts like what is outlined.
    press(window, "e")
    wait_until(window, lambda: find(window, "#drawer .histogram line.this"))
    assert "raw score" in text(window, "#drawer")
    assert serious(window) == []
    press(window, "e")
    press(window, "b")
    wait_until(window, lambda: "box" in text(window, "#like h2"))
    assert find(window, "#box")[0].is_displayed()
    part = f"parts/{find(window, '#picture')[0].get_attribute('src').split('/')[-2]}"
    screens = {
        "line": "#rate svg",
        "history": "#parts a",
        part: "#facts tr",
        "model": "#threshold .figure",
        "batch": "#start:enabled",
    }
    try:
        for size in (SCREEN, PHONE):
            window.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            for path, css in screens.items():
                window.get(f"{root}{path}")
                wait_until(window, lambda css=css: find(window, css))
                assert serious(window) == [], path
                assert window.execute_async_script(SHIFTS) < 0.1, path
                wide = window.execute_script("return document.documentElement.scrollWidth")
                assert wide <= size["width"], path
    finally:
        window.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", SCREEN)
    # A batch of the watched folder, to its end; then several parts of the history at once.
    find(window, "#choose input[name=folder]")[0].send_keys("incoming" + Keys.ENTER)
    wait_until(window, lambda: "2 / 2" in text(window, "#told"))
    wait_until(window, lambda: len(find(window, "#table tbody tr")) == 2)
    window.get(f"{root}history")
    wait_until(window, lambda: len(find(window, "#parts a")) == 2)
    press(window, "a")
    press(window, "j")
    wait_until(window, lambda: len(station.words()) == 2)
    assert {word for _, word, _ in station.words()} == {"right"}


@BROWSER
@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.nightly)])
def test_every_text_has_the_contrast_that_wcag_asks_for(
    station: Station, window: webdriver.Chrome, scheme: str
) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    window.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    window.get(station.url)
    for seed, kind in enumerate(["good", "dark", "good"]):
        station.place.drop(f"{seed}.png", kind, seed)
    (station.place.incoming / "x.png").write_bytes(b"no picture")
    for name, at in (("1.png", 0), ("x.png", 1)):
        wait_until(window, lambda: len(find(window, "#strip li")) == 4)
        find(window, "#strip li button")[at].click()
        wait_until(window, lambda name=name: name in text(window, "#part"))
        assert low_contrasts(window) == []
    # The measure itself: grey on grey is found.
    window.execute_script("document.querySelector('#counts').style.color = '#777'")
    assert [one.split()[0] for one in low_contrasts(window)] == ["counts"]
    window.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def low_contrasts(window: webdriver.Chrome) -> list[str]:
    """Texts below 4.5, or 3 where they are large (WCAG 2.2, 1.4.3), on the ground behind them."""
    script = """
    const line = (c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    const light = (c) => c.slice(0, 3).map((one) => line(one / 255))
      .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
    const ground = (e) => {
      for (; e; e = e.parentElement) {
        const style = getComputedStyle(e), c = rgb(style.backgroundColor);
        const stripe = style.backgroundImage.match(/rgba?\\([^)]*\\)/);
        if (stripe) return rgb(stripe[0]);
        if (c.length < 4 || c[3] > 0) return c;
      }
      return [255, 255, 255];
    };
    const low = [];
    for (const e of document.querySelectorAll("body *")) {
      const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
      if (!own || !e.checkVisibility() || e.disabled || e.closest(":disabled")) continue;
      const style = getComputedStyle(e), a = light(rgb(style.color)), b = light(ground(e));
      const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      const size = parseFloat(style.fontSize);
      const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
      if (ratio < (large ? 3 : 4.5)) low.push(`${e.id || e.tagName} ${e.textContent}: ${ratio}`);
    }
    return low;"""
    return list(window.execute_script(script))


@BROWSER
def test_two_operators_see_the_same_and_a_login_is_asked_for(
    tmp_path: Path, window: webdriver.Chrome
) -> None:
    place = place_at(tmp_path)
    with station_at(place, "a long one") as url:
        window.get(f"{url}line")
        wait_until(window, lambda: find(window, "#login[open] input[type=password]"))
        assert verdict(window) == "none"
        # Whose login it is, and as whom.
        assert "Lineside" in text(window, "#login h2")
        assert "one user is operator" in text(window, "#login p")
        find(window, "#login input[type=password]")[0].send_keys("a long one" + Keys.ENTER)
        wait_until(window, lambda: text(window, "#word") == "NO PART YET")
        place.drop("0.png", "dark", 1)
        shows(window, "anomalous", "0.png")
        first = window.current_window_handle
        window.switch_to.new_window("tab")
        window.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", SCREEN)
        window.get(f"{url}line")
        shows(window, "anomalous", "0.png")
        press(window, "j")
        wait_until(window, lambda: "live" in text(window, "#said"))
        window.close()
        window.switch_to.window(first)
        wait_until(window, lambda: "live" in text(window, "#said"))
        # The camera's folder goes: gray, with the reason; back again, it is live by itself.
        place.incoming.rename(tmp_path / "unplugged")
        wait_until(window, lambda: text(window, "#word") == "SOURCE AWAY")
        assert verdict(window) == "none"
        assert "away" in text(window, "#sources")
        (tmp_path / "unplugged").rename(place.incoming)
        place.drop("1.png", "good", 2)
        shows(window, "good", "1.png")


def test_both_languages_say_the_same_things() -> None:
    strings = json.loads((ASSETS / "strings.json").read_text(encoding="utf-8"))
    english, german = strings["en"], strings["de"]
    assert list(english) == list(german)
    assert list(english["reasons"]) == list(german["reasons"])
    places = {
        key: sorted(part.split("}")[0] for part in text.split("{")[1:])
        for key, text in english.items()
        if key != "reasons"
    }
    for key, wanted in places.items():
        assert sorted(part.split("}")[0] for part in german[key].split("{")[1:]) == wanted


def test_every_reason_why_a_picture_cannot_be_judged_has_a_plain_line() -> None:
    known = json.loads((ASSETS / "strings.json").read_text(encoding="utf-8"))["en"]["reasons"]
    for statistic in STATISTICS.values():
        sides = {
            "below": [statistic.below],
            "above": [statistic.above],
            "both": [statistic.below, statistic.above],
            "": [],
        }[statistic.judged]
        for side in sides:
            assert any(key and side.startswith(key) for key in known), side
