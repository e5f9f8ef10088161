"""Whatever fails while a part is inspected: the page never goes on showing the verdict before."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_app.page import render
from edge_app.page.choice import open_station
from edge_app.page.screen import Screen, look_at, show
from edge_app.similar import SEEN_BEFORE
from edge_app.store import Neighbor
from runtime.errors import EngineError
from tests.edge_app.points import make_points
from tests.runtime.faults import After, Stuck, constant_score, hanging, opens, raising
from tests.runtime.tiny import computed, random_image, write_bundle

FAULTS = {
    "device lost": (raising(RuntimeError("device lost")), "device lost"),
    "out of memory": (raising(MemoryError()), "MemoryError"),
    "hang": (hanging, "no answer within"),
    "zero": (constant_score(0.0), "far below any good part"),
}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle")


def golden(bundle: Path) -> int:
    """Pictures that are replayed before the first part."""
    return len(list((bundle / "golden").glob("*.png")))


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{index}.png" for index in range(3)]
    for index, path in enumerate(paths):
        assert cv2.imwrite(str(path), random_image(index, 20 if index == 0 else 110)[:, :, ::-1])
    return paths


@pytest.mark.parametrize("kind", FAULTS)
def test_the_banner_says_cannot_judge_and_nothing_can_be_remembered(
    bundle: Path, parts: list[Path], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    handler, reason = FAULTS[kind]
    # The canary, the warm-up, the golden pictures and the first part go well.
    opens(monkeypatch, After(3 + golden(bundle), handler), computed)
    with open_station([bundle], "memory:", deadline_s=0.5) as station:
        (line,) = station.lines.values()
        screen = Screen()
        assert 'data-verdict="good"' in show(screen, lambda: look_at(line, parts[0]))[0]
        banner, pictures, _, _, right, wrong = show(screen, lambda: look_at(line, parts[1]))
        assert 'data-verdict="cannot_judge"' in banner
        assert reason in banner
        assert "Cannot judge" in banner
        if kind != "zero":
            assert pictures == ""
            assert screen.point is None
            assert (right["interactive"], wrong["interactive"]) == (False, False)
        # Opened again, after it has passed the canary.
        after = show(screen, lambda: look_at(line, parts[2]))[0]
        assert ('data-verdict="anomalous"' in after) == (kind != "zero")
        if kind == "zero":
            assert "judges golden picture" in after
            assert 'data-verdict="anomalous"' in show(screen, lambda: look_at(line, parts[2]))[0]


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("edge_app.line.make_point", sqlite3.OperationalError("disk I/O error")),
        ("edge_app.page.render.pictures", cv2.error("bad size")),
    ],
)
def test_a_failure_beside_the_engine_is_told_in_the_banner(
    bundle: Path, parts: list[Path], monkeypatch: pytest.MonkeyPatch, place: str, error: Exception
) -> None:
    with open_station([bundle], "memory:") as station:
        (line,) = station.lines.values()
        screen = Screen()
        before = show(screen, lambda: look_at(line, parts[0]))[0]

        def broken(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr(place, broken)
        after = show(screen, lambda: look_at(line, parts[1]))[0]
    assert 'data-verdict="good"' in before
    assert 'data-verdict="cannot_judge"' in after
    assert screen.point is None


def test_a_stuck_engine_is_told_in_the_banner(
    bundle: Path, parts: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = Stuck()
    opens(monkeypatch, After(2 + golden(bundle), stuck))
    with open_station([bundle], "memory:") as station:
        (line,) = station.lines.values()
        look_at(line, parts[1])
        found = look_at(line, parts[2]).verdict
    assert 'data-verdict="cannot_judge"' in found
    assert "exactly the same" in found


def test_an_engine_that_computes_something_else_keeps_the_page_from_starting(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opens(monkeypatch, lambda inputs: {**computed(inputs), "pred_score": np.float32([50.0])})
    with (
        pytest.raises(EngineError, match="judges golden picture 0"),
        open_station([bundle], "memory:"),
    ):
        pass


def test_a_reason_is_escaped() -> None:
    assert "<b>" not in render.unjudged("<b>.png", "<b>")


def test_an_earlier_part_is_shown_by_what_it_turned_out_to_be() -> None:
    good, crack = make_points(2)
    missed = replace(good, defect_type="", confirmed="wrong", confirmed_defect="hole")
    html = render.neighbors([Neighbor(0.9, missed), Neighbor(0.8, replace(crack, verdict="good"))])
    assert html.count('data-verdict="anomalous"') == 2
    assert "hole" in html
    assert "crack" in html
    # Its name alone: where it lies is nobody's business.
    assert "/parts/" not in html
    assert "0000.png" in html


def test_what_is_not_alike_is_no_neighbor() -> None:
    near, far = (
        Neighbor(SEEN_BEFORE + by, one)
        for one, by in zip(make_points(2), (0.0, -0.01), strict=True)
    )
    assert render.neighbors([near, far]).count("ls-card ") == 1
    assert "Nothing like this seen before" in render.neighbors([far])
    assert "No earlier part" in render.neighbors([])
