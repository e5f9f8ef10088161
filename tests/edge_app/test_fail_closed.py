"""Whatever breaks, wherever it is asked: the same table of faults at every exit, and never good."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from starlette.testclient import TestClient

from edge_app.api.application import Access, build_application, build_service
from edge_app.live.settings import Source
from edge_app.page.choice import open_station
from edge_app.page.screen import Screen, look_at, show
from runtime.bundle.sealing import SEAL, seal_of
from runtime.inspector import Inspector
from tests.cli import lineside
from tests.edge_app.live.fed import fed, until
from tests.runtime.faults import (
    Handler,
    all_zero,
    constant_score,
    hanging,
    opens,
    raising,
    reshaped,
    without,
)
from tests.runtime.tiny import computed, random_image, reseal
from tests.runtime.unwell import write_healthy_bundle

ENGINES: dict[str, Handler] = {
    "raises": raising(RuntimeError("device lost")),
    "out of memory": raising(MemoryError()),
    "hangs": hanging,
    "NaN": constant_score(float("nan")),
    "infinite": constant_score(float("inf")),
    "all zero": all_zero,
    "score zero": constant_score(0.0),
    "hugely negative": constant_score(-9e9),
    "no score": without("pred_score"),
    "no map": without("anomaly_map"),
    "two scores": reshaped("pred_score", 2),
    "map cut": reshaped("anomaly_map", 1, 1, 2, 4),
    "short descriptor": reshaped("embedding", 1, 5),
}


def edited(name: str, **changes: Any) -> Callable[[Path], None]:
    def edit(bundle: Path) -> None:
        path = bundle / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return edit


def other_model(bundle: Path) -> None:
    edited("thresholds.json", model="0" * 64)(bundle)
    raw = json.loads((bundle / "thresholds.json").read_text())
    edited("thresholds.json", **{SEAL: seal_of(raw)})(bundle)


FILES: dict[str, Callable[[Path], None]] = {
    "thresholds edited": edited("thresholds.json", history=[{"variant": "x"}]),
    "thresholds of another model": other_model,
    "thresholds no JSON": lambda bundle: void((bundle / "thresholds.json").write_text("{")),
    "thresholds gone": lambda bundle: (bundle / "thresholds.json").unlink(),
    "health edited": edited("health.json", judge=False),
    "health no JSON": lambda bundle: void((bundle / "health.json").write_text("{")),
    "health gone": lambda bundle: (bundle / "health.json").unlink(),
}


def void(_: object) -> None:
    """Only what was done matters."""


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("closed")
    reseal(write_healthy_bundle(root / "bundle"))
    (root / "in").mkdir()
    for index in range(3):
        # Good parts, which a working engine calls good.
        image = np.kron(random_image(index, 20), np.ones((2, 2, 1), np.uint8))
        assert cv2.imwrite(str(root / "in" / f"{index}.png"), image[:, :, ::-1])
    return root


@pytest.fixture
def root(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "root"))


def by_inspector(root: Path, break_it: Callable[[], None]) -> Iterator[str]:
    with Inspector(root / "bundle", deadline_s=0.2, canary=True) as inspector:
        break_it()
        inspector.refresh_thresholds()
        inspector.refresh_health()
        for path in sorted((root / "in").iterdir()):
            said = inspector.inspect(path).to_json()
            yield f"{said['verdict']} {said['fault']} {said['reason']}"


def by_command(*command: object) -> Callable[[Path, Callable[[], None]], Iterator[str]]:
    def run(root: Path, break_it: Callable[[], None]) -> Iterator[str]:
        break_it()
        done = lineside(command[0], root / "bundle", root / "in", *command[1:], "--deadline", 0.2)
        assert done.returncode == 1
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        yield from (f"{row['verdict']} {row['fault']} {row['reason']}" for row in rows)
        if not rows:
            assert len(done.stderr.strip().splitlines()) == 1
            yield "refused"

    return run


def opened(root: Path) -> Any:
    return open_station([root / "bundle"], "memory:", deadline_s=0.2)


def by_page(root: Path, break_it: Callable[[], None]) -> Iterator[str]:
    with opened(root) as station:
        (line,) = station.lines.values()
        screen = Screen()
        break_it()
        for path in sorted((root / "in").iterdir()):
            banner = show(screen, lambda path=path: look_at(line, path))[0]
            assert 'data-verdict="good"' not in banner
            assert 'data-verdict="anomalous"' not in banner
            yield "cannot_judge True" if 'data-verdict="cannot_judge"' in banner else banner


def by_api(root: Path, break_it: Callable[[], None]) -> Iterator[str]:
    with opened(root) as station:
        application = build_application(build_service(station), Access())
        client = TestClient(application, base_url="http://127.0.0.1")
        break_it()
        for path in sorted((root / "in").iterdir()):
            answer = client.post("/v1/inspect", content=path.read_bytes())
            if answer.status_code != 200:
                # The engine has failed: a problem, and no verdict.
                assert answer.status_code in (500, 503), answer.text
                assert "verdict" not in answer.json()
                yield "cannot_judge True"
                continue
            (said,) = answer.json()["inspections"]
            assert said["reasons"]
            yield f"{said['verdict']} True {said['reasons']}"


def by_station(root: Path, break_it: Callable[[], None]) -> Iterator[str]:
    (root / "empty").mkdir()
    source = Source("press", str(root / "empty"), "bundle")
    with fed(root / "bundle", root / "store", source) as station:
        break_it()
        for path in sorted((root / "in").iterdir()):
            shutil.copy(path, root / "empty" / path.name)
        until(lambda: len(station.arrived()) == 3)
        yield from (f"{one.verdict} True {one.reason}" for one in station.arrived())


EXITS = {
    "inspector": by_inspector,
    "inspect": by_command("inspect", "--json"),
    "watch": by_command("watch", "--once", "--json"),
    "page": by_page,
    "api": by_api,
}


@pytest.mark.slow
@pytest.mark.parametrize("exit_", EXITS)
@pytest.mark.parametrize("kind", ENGINES)
def test_a_broken_engine_says_good_nowhere(
    root: Path, monkeypatch: pytest.MonkeyPatch, kind: str, exit_: str
) -> None:
    broken = []

    def handler(inputs: Any) -> Any:
        return (ENGINES[kind] if broken else computed)(inputs)

    opens(monkeypatch, handler)
    found = list(EXITS[exit_](root, lambda: broken.append(True)))
    assert found
    assert all(one == "refused" or one.startswith("cannot_judge True") for one in found), found


@pytest.mark.parametrize("exit_", EXITS)
@pytest.mark.parametrize("kind", FILES)
def test_a_broken_file_says_good_nowhere(
    root: Path, monkeypatch: pytest.MonkeyPatch, kind: str, exit_: str
) -> None:
    opens(monkeypatch, computed)
    found = list(EXITS[exit_](root, lambda: FILES[kind](root / "bundle")))
    assert found
    assert all(one == "refused" or one.startswith("cannot_judge True") for one in found), found


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["raises", "NaN", "hugely negative", "health gone"])
def test_a_station_says_good_of_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    broken = []

    def handler(inputs: Any) -> Any:
        return (ENGINES.get(kind, computed) if broken else computed)(inputs)

    def break_it() -> None:
        broken.append(True)
        FILES.get(kind, void)(root / "bundle")

    opens(monkeypatch, handler)
    found = list(by_station(root, break_it))
    assert all(one.startswith("cannot_judge True") for one in found), found


@pytest.mark.slow
def test_an_engine_that_crashes_costs_one_part_at_every_exit(root: Path) -> None:
    """A real worker, killed by SIGSEGV: station, API and page answer at once, and judge again."""
    (root / "empty").mkdir()
    source = Source("press", str(root / "empty"), "bundle")
    with fed(root / "bundle", root / "store", source, isolate=True) as fed_station:
        station = fed_station.station
        (line,) = station.lines.values()
        application = build_application(build_service(station), Access())
        client = TestClient(application, base_url="http://127.0.0.1")
        content = (root / "in" / "0.png").read_bytes()

        def crash() -> None:
            line.inspector._engine._attempts = 0
            os.kill(line.inspector._engine._engine.pid, signal.SIGSEGV)

        def by_api() -> str:
            answer = client.post("/v1/inspect", content=content)
            return answer.json()["inspections"][0]["verdict"] if answer.is_success else answer.text

        def by_page() -> str:
            return show(Screen(), lambda: look_at(line, root / "in" / "0.png"))[0]

        def by_source() -> str:
            count = len(fed_station.arrived())
            shutil.copy(root / "in" / "0.png", root / "empty" / f"{count}.png")
            until(lambda: len(fed_station.arrived()) > count)
            return f"{fed_station.arrived()[-1].verdict} {fed_station.arrived()[-1].reason}"

        for exit_ in (by_api, by_page, by_source):
            assert "good" in exit_()
            crash()
            begin = time.monotonic()
            said = exit_()
            assert "SIGSEGV" in said or "cannot_judge" in said
            assert "good" not in said
            assert "good" in exit_()
            assert time.monotonic() - begin < 5.0


def test_working_they_all_say_good(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the table above could not fail."""
    opens(monkeypatch, computed)
    with Inspector(root / "bundle") as inspector:
        assert inspector.inspect(root / "in" / "0.png").verdict == "good"
    with opened(root) as station:
        application = build_application(build_service(station), Access())
        client = TestClient(application, base_url="http://127.0.0.1")
        answer = client.post("/v1/inspect", content=(root / "in" / "0.png").read_bytes())
        assert answer.json()["inspections"][0]["verdict"] == "good"
