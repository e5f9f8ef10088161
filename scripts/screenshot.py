"""Draw page, inspect, login, line, history, model, batch, teach and report in Chromium.

They show what ``make demo CATEGORY=all`` has made.

python -m scripts.screenshot [--demo demo] [--out docs/images]
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import httpx
from selenium.webdriver.remote.webdriver import WebDriver

from edge_app.live.config import read_config
from edge_app.live.first import write_first
from edge_app.live.running import running_station
from edge_app.live.settings import Page, Source
from edge_app.serving import serving
from tests.cli import lineside
from tests.edge_app.browser import chromium, find, wait_until

SCREEN = {"width": 1280, "height": 720, "deviceScaleFactor": 1, "mobile": False}
PHONE = {"width": 390, "height": 640, "deviceScaleFactor": 1, "mobile": True}


def main() -> None:
    """Draw all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", type=Path, default=Path("demo"))
    parser.add_argument("--out", type=Path, default=Path("docs/images"), help="folder")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    draw_page(options.demo, options.out / "page.png")
    draw_inspect(options.demo, options.out)
    draw_line(options.demo, options.out)
    draw_teach(options.demo, options.out / "teach.png")
    draw_report(options.demo, options.out / "report.png")


def draw_page(demo: Path, out: Path) -> None:
    """The operator's page: start it, wait for the first verdict, save the picture."""
    bundles = sorted((demo / "bundles").glob("*-patchcore"), reverse=True)
    page = serving(bundles, str(demo / "neighbours"), samples=demo / "parts", port=0)
    with page as url, tempfile.TemporaryDirectory() as profile, chromium(Path(profile)) as window:
        window.get(url)
        wait_until(window, lambda: len(find(window, ".ls-card")) == 5)
        time.sleep(2)  # Gradio fades its blocks in.
        window.save_screenshot(str(out))


def draw_inspect(demo: Path, out: Path) -> None:
    """A picture judged by both models; a neighbor large beside it; the login on a phone."""
    with tempfile.TemporaryDirectory() as folder, chromium(Path(folder, "profile")) as window:
        store = shutil.copytree(demo / "neighbours", Path(folder, "store"))
        bundles = sorted((demo / "bundles").glob("tile-*"), reverse=True)
        part = sorted((demo / "parts" / "tile" / "test" / "crack").glob("*.png"))[0]
        with serving(bundles, str(store), samples=demo / "parts", port=0) as url:
            window.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", SCREEN)
            window.get(f"{url}inspect")
            wait_until(window, lambda: find(window, "#first button"))
            find(window, "#files")[0].send_keys(str(part.resolve()))
            wait_until(window, lambda: len(find(window, "#modes button")) == 4)
            wait_until(window, lambda: find(window, "#spread line") and find(window, "#cards img"))
            time.sleep(1)
            window.save_screenshot(str(out / "inspect.png"))
            find(window, "#cards button")[0].click()
            wait_until(window, lambda: find(window, "#compare .heat[src]"))
            time.sleep(1)
            window.save_screenshot(str(out / "compare.png"))
        with serving(bundles[:1], str(store), password="a long one", port=0) as url:
            window.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
            window.get(f"{url}inspect")
            wait_until(window, lambda: find(window, "#login[open] input"))
            window.save_screenshot(str(out / "login.png"))


def draw_line(demo: Path, out: Path) -> None:
    """The operator's screen with a flagged part, in the light and in the dark; the history."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        # A copy, for a limit is set and taken back.
        bundle = place / "tile-patchcore"
        shutil.copytree(demo / "bundles" / bundle.name, bundle)
        write_first(place / "station.toml", [bundle])
        shutil.copytree(demo / "neighbours", place / "neighbours")
        (place / "incoming").mkdir()
        config = replace(
            read_config(place / "station.toml"),
            store=place / "neighbours",
            samples=demo / "parts",
            sources=(Source("press 3", str(place / "incoming"), "tile-patchcore"),),
            page=Page(port=0),
        )
        tests = demo / "parts" / "tile" / "test"
        with running_station(config) as url, chromium(place / "profile") as window:
            window.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", SCREEN)
            window.get(f"{url}line")
            for number, kind in enumerate(("good", "good", "crack", "good", "oil", "good", "good")):
                part = sorted((tests / kind).glob("*.png"))[number]
                # Whole at once, as a careful camera writes it.
                shutil.copy(part, place / "next.png")
                (place / "next.png").replace(place / "incoming" / f"{number:03d}.png")
                wait_until(
                    window, lambda wanted=number + 1: len(find(window, "#strip li")) >= wanted
                )
            wait_until(window, lambda: len(find(window, "#cards > *")) == 6)
            wait_until(window, lambda: "%" in find(window, "#rate figcaption")[0].text)
            for name, scheme in (("line.png", "light"), ("line-dark.png", "dark")):
                features = [{"name": "prefers-color-scheme", "value": scheme}]
                window.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
                time.sleep(1)
                window.save_screenshot(str(out / name))
            window.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
            window.get(f"{url}history")
            wait_until(window, lambda: find(window, "#parts li"))
            time.sleep(1)
            window.save_screenshot(str(out / "history.png"))
            draw_desks(window, url, out)


def draw_desks(window: WebDriver, url: str, out: Path) -> None:
    """The model with a suggested limit, after words on its parts; a batch that has ended."""
    with httpx.Client(base_url=f"{url}v1", timeout=60, trust_env=False) as box:
        parts = box.get("/parts", params={"limit": 200}).json()["parts"]
        for number, part in enumerate(sorted(parts, key=lambda one: one["raw_score"])):
            # What the folder says of a part; a reject that is nothing in particular is a good one.
            known = part["defect_type"] or "good"
            is_right = (known == "good") == (part["verdict"] == "good")
            if number % 2 == 0 or not is_right:
                word = {"word": "right" if is_right else "wrong"}
                box.post(f"/parts/{part['id']}/feedback", json=word).raise_for_status()
        # As if somebody had set a limit in a hurry: the words speak against it.
        card = box.get("/bundles/tile-patchcore").json()["thresholds"][0]
        limit = card["image_threshold"]
        hurry = {"image_threshold": limit * 1.15, "in_force": limit, "note": "too many rejects"}
        changed = box.post("/bundles/tile-patchcore/threshold", json=hurry)
        changed.raise_for_status()
        window.get(f"{url}model")
        wait_until(window, lambda: find(window, "#threshold .figure"))
        time.sleep(1)
        window.save_screenshot(str(out / "model.png"))
        box.post("/bundles/tile-patchcore/threshold/rollback").raise_for_status()
    window.get(f"{url}batch")
    wait_until(window, lambda: find(window, "#start:enabled"))
    find(window, "#choose input[name=folder]")[0].send_keys("parts/tile/test\n")
    wait_until(window, lambda: "Done" in find(window, "#told")[0].text)
    time.sleep(2)
    window.save_screenshot(str(out / "batch.png"))


def draw_teach(demo: Path, out: Path) -> None:
    """A part that is taught, with a bad one among the good ones, and a version made before."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        bundle = shutil.copytree(demo / "bundles" / "tile-patchcore", place / "tile-patchcore")
        write_first(place / "station.toml", [bundle])
        (place / "incoming").mkdir(exist_ok=True)
        config = replace(
            read_config(place / "station.toml"),
            store=place / "neighbours",
            samples=None,
            sources=(Source("press 3", str(place / "incoming"), "tile-patchcore"),),
            page=Page(port=0),
        )
        parts = demo / "parts" / "tile"
        good = sorted((parts / "train" / "good").glob("*.png"))
        bad = sorted((parts / "test" / "crack").glob("*.png"))
        with running_station(config) as url, chromium(place / "profile") as window:
            window.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", SCREEN)
            window.get(f"{url}teach")
            for part, some in (("tile, night shift", good[:12]), ("tile, new mold", good[12:32])):
                wait_until(window, lambda: find(window, "#begin:not([hidden]) #part"))
                find(window, "#part")[0].send_keys(part)
                find(window, "#begin form button")[0].click()
                wait_until(window, lambda: find(window, "#files"))
                chosen = [*some, *(bad[:1] if len(some) > 12 else [])]
                find(window, "#files")[0].send_keys("\n".join(str(one.resolve()) for one in chosen))
                count = len(chosen)
                wait_until(
                    window, lambda count=count: len(find(window, "#pictures li")) == count, 300
                )
                if len(some) > 12:
                    break
                find(window, "#make")[0].click()
                wait_until(window, lambda: len(find(window, "#versions tr")) == 3, 300)
                find(window, "#discard")[0].click()
            wait_until(window, lambda: find(window, "#pictures .suspect"), 300)
            time.sleep(1)
            window.save_screenshot(str(out))


def draw_report(demo: Path, out: Path) -> None:
    """The report of both models on tile: its first screen, and its chapter on neighbours below."""
    bundles = sorted((demo / "bundles").glob("tile-*"), reverse=True)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.html")
        done = lineside("report", *bundles, "--data", demo / "parts", "--out", report)
        if done.returncode:
            raise SystemExit(done.stderr)
        with chromium(Path(folder)) as window:
            window.set_window_size(1000, 1500)
            window.get(report.as_uri())
            window.save_screenshot(str(out))


if __name__ == "__main__":
    main()
