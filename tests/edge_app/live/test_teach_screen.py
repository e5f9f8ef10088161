"""Teaching a part at the box in a real browser: the toy's stripes, and real bottles."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.common.keys import Keys

from runtime.health.baseline import HEALTH_FILE, read_health, write_health
from tests.edge_app.browser import chromium, find, wait_until
from tests.edge_app.live.served import Place, place_at, station_at

pytestmark = pytest.mark.slow
# What a process of its own does.
SLOW_S = 240.0
SCREEN = {"width": 1280, "height": 720, "deviceScaleFactor": 1, "mobile": False}


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", SCREEN)
        yield browser


def text(window: webdriver.Chrome, css: str) -> str:
    return find(window, css)[0].text


def shows(window: webdriver.Chrome, kind: str, name: str) -> None:
    wait_until(
        window,
        lambda: (
            find(window, "#banner")[0].get_attribute("data-verdict") == kind
            and name in text(window, "#part")
        ),
        SLOW_S,
    )


def comes(place: Place, picture: Path, name: str) -> None:
    """A part comes, whole at once."""
    shutil.copy(picture, place.root / name)
    (place.root / name).replace(place.incoming / name)


def seen(window: webdriver.Chrome, count: int) -> None:
    """Look at the parts that wait for it."""
    for _ in range(count):
        wait_until(window, lambda: find(window, "#look:not(:disabled)"))
        name = text(window, "#part")
        find(window, "#look")[0].click()
        wait_until(
            window,
            lambda name=name: text(window, "#part") != name or find(window, "#look:disabled"),
        )


def begin(window: webdriver.Chrome, part: str) -> None:
    wait_until(window, lambda: find(window, "#begin:not([hidden]) #part"))
    find(window, "#part")[0].send_keys(part + Keys.ENTER)
    wait_until(window, lambda: find(window, "#files"))


def test_a_box_that_has_learned_nothing_is_taught_tries_goes_live_and_back(
    tmp_path: Path, window: webdriver.Chrome
) -> None:
    from tests.calibration.teachable import blanked, pictures, write_pictures, write_toy_bundle

    place = place_at(tmp_path)
    shutil.rmtree(tmp_path / "tile-tiny")
    blanked(write_toy_bundle(tmp_path / "toy"), tmp_path / "tile-tiny")
    good = write_pictures(tmp_path / "good", pictures(24))
    # A bad one among them.
    bad = pictures(1, seed=9)
    bad[:, 10:50, 10:50] = 20
    files = [*sorted(good.iterdir()), *write_pictures(tmp_path / "bad", bad).iterdir()]
    came = sorted(write_pictures(tmp_path / "came", pictures(4, seed=3)).iterdir())
    with station_at(place) as url:
        for number, path in enumerate(came[:3]):
            comes(place, path, f"{number}.png")
        # Nothing is judged by what has learned nothing, and it is said what to do.
        window.get(f"{url}line")
        shows(window, "cannot_judge", "0.png")
        assert "No part was learned yet" in text(window, "#said")
        seen(window, 3)
        window.get(f"{url}model")
        wait_until(window, lambda: "has learned no part yet" in text(window, "#blank"))
        window.get(f"{url}teach")
        wait_until(window, lambda: find(window, "#begin:not([hidden]) #part"))
        assert "has learned no part yet" in text(window, "#begin")
        assert find(window, "#add:disabled")
        begin(window, "stripes")
        # Whoever comes second is told.
        window.execute_script("localStorage.lineside_client = 'another'")
        window.refresh()
        wait_until(window, lambda: "has been teaching stripes" in text(window, "#theirs"))
        find(window, "#theirs button")[0].click()
        begin(window, "stripes")
        # What came while nothing was learned is there to be learned.
        find(window, "#take")[0].click()
        wait_until(window, lambda: len(find(window, "#pictures li")) == 3)
        find(window, "#files")[0].send_keys("\n".join(map(str, files)))
        wait_until(window, lambda: len(find(window, "#pictures li")) == 3 + len(files))
        wait_until(window, lambda: find(window, "#pictures li.suspect"), SLOW_S)
        # What is most unlike the others comes first.
        assert "suspect" in str(find(window, "#pictures li")[0].get_attribute("class"))
        for one in find(window, "#pictures li.suspect button"):
            one.click()
        wait_until(window, lambda: "27 pictures chosen, 1 taken out" in text(window, "#counts"))
        find(window, "#make")[0].click()
        wait_until(window, lambda: "v0001 is made" in text(window, "#job"), SLOW_S)
        find(window, "#versions button.try")[0].click()
        wait_until(window, lambda: "on the last 3 parts" in text(window, "#trial"), SLOW_S)
        assert "3 by the verdicts on record" in text(window, "#trial")
        find(window, "#versions button.go-live")[0].click()
        wait_until(window, lambda: "v0001" in text(window, "#versions tr.live"))
        comes(place, came[3], "next.png")
        window.get(f"{url}line")
        shows(window, "good", "next.png")
        window.get(f"{url}teach")
        wait_until(window, lambda: find(window, "#versions .back:not(:disabled)"))
        find(window, "#versions .back")[0].click()
        wait_until(window, lambda: "as delivered" in text(window, "#versions tr.live"))


def test_a_drift_alarm_leads_to_its_last_fifty_parts_which_are_learned_beside_what_was_known(
    tmp_path: Path, window: webdriver.Chrome
) -> None:
    from calibration.teaching.teach import teach
    from tests.calibration.teachable import pictures, write_pictures, write_toy_bundle

    place = place_at(tmp_path)
    bundle = tmp_path / "tile-tiny"
    shutil.rmtree(bundle)
    good = write_pictures(tmp_path / "good", pictures(24))
    teach(write_toy_bundle(tmp_path / "toy"), good, bundle, "stripes")
    health = read_health(bundle / HEALTH_FILE)
    write_health(bundle / HEALTH_FILE, replace(health, parts_between_false_alarms=100))

    def come(name: str, some: np.ndarray) -> None:
        folder = write_pictures(tmp_path / name, some)
        for path in sorted(folder.iterdir()):
            path.replace(place.incoming / f"{name}-{path.name}")

    # The same part under a stronger lamp.
    brighter = np.clip(pictures(53, seed=5).astype(np.int16) + 24, 0, 255).astype(np.uint8)
    with station_at(place) as url:
        come("before", pictures(8, seed=4))
        window.get(f"{url}line")
        wait_until(window, lambda: "before-007.png" in text(window, "#part"), SLOW_S)
        assert not find(window, "#drift.alarm")
        come("brighter", brighter[:50])
        wait_until(window, lambda: find(window, "#drift.alarm a"), SLOW_S)
        with httpx.Client(base_url=url, trust_env=False) as box:
            wait_until(
                window,
                lambda: len(box.get("v1/parts", params={"limit": 200}).json()["parts"]) == 58,
                SLOW_S,
            )
        find(window, "#drift a")[0].click()
        wait_until(window, lambda: find(window, "#begin:not([hidden]) #add:checked"))
        assert "Drift: " in text(window, "#begin")
        find(window, "#begin form button")[0].click()
        wait_until(window, lambda: len(find(window, "#pictures li")) == 50, SLOW_S)
        shown = {one.text for one in find(window, "#pictures li small")}
        assert not any(one.startswith("before") for one in shown)
        assert "beside what tile-tiny knows" in text(window, "#what")
        find(window, "#make")[0].click()
        wait_until(window, lambda: "v0001 is made" in text(window, "#job"), SLOW_S)
        find(window, "#versions button.go-live")[0].click()
        wait_until(window, lambda: "v0001" in text(window, "#versions tr.live"))
        # It knows both looks, and the new one is no drift any more.
        come("old", pictures(3, seed=6))
        come("new", brighter[50:])
        with httpx.Client(base_url=url, trust_env=False) as box:
            query = {"limit": 200}
            recorded = lambda: box.get("v1/parts", params=query).json()["parts"]  # noqa: E731
            wait_until(window, lambda: len(recorded()) == 58 + 6, SLOW_S)
            verdicts = {one["name"]: one["verdict"] for one in recorded()[:6]}
            assert {name.split("-")[0] for name in verdicts} == {"old", "new"}
            assert list(verdicts.values()).count("good") >= 5, verdicts
            assert box.get("v1/teach").json()["lines"][0]["drift"] == ""
            # Of the parts of before it knows those whose pictures are there.
            wait_until(window, lambda: not box.get("v1/teach").json()["memory"]["running"], SLOW_S)
            assert box.get("v1/teach").json()["memory"]["lines"] == ["58", "0"]
        wait_until(window, lambda: "58 earlier parts are neighbors" in text(window, "#memory"))


@pytest.mark.nightly
def test_bottles_are_taught_from_real_pictures_and_go_on_learning(
    tmp_path: Path,
    window: webdriver.Chrome,
    patchcore_bundle: Path,
    real_data: Path,
) -> None:
    from tests.calibration.teachable import blanked

    place = place_at(tmp_path)
    shutil.rmtree(tmp_path / "tile-tiny")
    blanked(patchcore_bundle, tmp_path / "tile-tiny")
    bottles = real_data / "bottle"
    good = sorted((bottles / "train" / "good").iterdir())
    fine = sorted((bottles / "test" / "good").iterdir())
    broken = sorted((bottles / "test" / "broken_large").iterdir())

    def drop(pictures: list[Path]) -> None:
        before = len(find(window, "#pictures li"))
        for path in pictures:
            # Files of several folders have the same names.
            shutil.copy(path, tmp_path / f"{path.parent.name}-{path.name}")
        names = [str(tmp_path / f"{path.parent.name}-{path.name}") for path in pictures]
        find(window, "#files")[0].send_keys("\n".join(names))
        count = before + len(pictures)
        wait_until(window, lambda: len(find(window, "#pictures li")) == count, SLOW_S)
        wait_until(window, lambda: len(find(window, "#pictures li small")) == count)

    def looked() -> list[dict[str, Any]]:
        """All of the pictures, once each of them was compared with all others."""
        found: list[dict[str, Any]] = []

        def done() -> bool:
            state = box.get("v1/teach").json()
            found[:] = state["draft"]["pictures"]
            return not state["job"]["running"] and all(one["apart"] for one in found)

        wait_until(window, done, SLOW_S)
        window.refresh()
        wait_until(window, lambda: len(find(window, "#pictures li")) == len(found))
        return found

    with (
        station_at(place) as url,
        httpx.Client(base_url=url, trust_env=False, timeout=60) as box,
    ):
        for at, path in enumerate([fine[0], fine[1], broken[0]]):
            comes(place, path, f"early-{at}.png")
        window.get(f"{url}line")
        shows(window, "cannot_judge", "early-0.png")
        seen(window, 3)
        window.get(f"{url}teach")
        begin(window, "bottle")
        drop([*good[:25], broken[1]])
        looked()
        wait_until(window, lambda: find(window, "#pictures li.suspect"), SLOW_S)
        unlike = find(window, "#pictures li.suspect img")[0].get_attribute("alt")
        assert unlike == f"broken_large-{broken[1].name}"
        find(window, "#pictures li.suspect button")[0].click()
        wait_until(window, lambda: "25 pictures chosen, 1 taken out" in text(window, "#counts"))
        find(window, "#make")[0].click()
        wait_until(window, lambda: "v0001 is made" in text(window, "#job"), SLOW_S)
        find(window, "#versions button.try")[0].click()
        wait_until(
            window, lambda: "on the last 3 parts: 1 stopped" in text(window, "#trial"), SLOW_S
        )
        find(window, "#versions button.go-live")[0].click()
        wait_until(window, lambda: "v0001" in text(window, "#versions tr.live"))
        comes(place, fine[2], "fine.png")
        window.get(f"{url}line")
        shows(window, "good", "fine.png")
        comes(place, broken[2], "broken.png")
        shows(window, "anomalous", "broken.png")
        seen(window, 1)
        # More of the same part, against what it knows.
        window.get(f"{url}teach")
        wait_until(window, lambda: find(window, "#discard"))
        find(window, "#discard")[0].click()
        wait_until(window, lambda: find(window, "#begin:not([hidden]) #add:not(:disabled)"))
        find(window, "#add")[0].click()
        begin(window, "bottle")
        drop([*good[25:], broken[3]])
        shown = looked()
        newest = max(shown, key=lambda one: one["novelty"])
        assert newest["name"] == f"broken_large-{broken[3].name}"
        find(window, "#pictures img[alt^='broken_large'] ~ button")[0].click()
        wait_until(window, lambda: "6 pictures chosen, 1 taken out" in text(window, "#counts"))
        find(window, "#make")[0].click()
        wait_until(window, lambda: "v0002 is made" in text(window, "#job"), SLOW_S)
        find(window, "#versions button.go-live")[0].click()
        wait_until(
            window, lambda: "2 earlier parts are neighbors" in text(window, "#memory"), SLOW_S
        )
        comes(place, broken[4], "again.png")
        window.get(f"{url}line")
        shows(window, "anomalous", "again.png")
        wait_until(window, lambda: find(window, "#cards img"))
        window.get(f"{url}teach")
        wait_until(window, lambda: find(window, "#versions .back:not(:disabled)"))
        find(window, "#versions .back")[0].click()
        wait_until(window, lambda: "v0001" in text(window, "#versions tr.live"))
