"""The page's lines without the page."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import gradio as gr
import numpy as np
import pytest

from edge_app.page import render
from edge_app.page.layout import _judge, _record, _say, around_box, build_page, give, show
from edge_app.page.samples import load_samples
from edge_app.page.screen import Screen
from edge_app.page.station import Station
from runtime.bundle.folder import Bundle
from runtime.bundle.thresholds import THRESHOLDS_FILE, write_thresholds
from runtime.errors import StoreError
from tests.edge_app.faulty_proxy import BUSY, PASS, proxied
from tests.edge_app.qdrant_stand_in import qdrant
from tests.edge_app.tiny_bundle import write_tiny_bundle

ENGINE = {"engine": "openvino", "precision": "fp32", "device": "CPU", "threads": None}


def picture(level: int) -> bytes:
    """A grey part with a corner of another level."""
    image = np.full((64, 64, 3), 128, np.uint8)
    image[:16, :16] = level
    return cv2.imencode(".png", image)[1].tobytes()


def set_threshold(bundle: Path, value: float) -> None:
    with Bundle.open(bundle) as opened:
        thresholds = opened.thresholds()
    changed = thresholds.of("openvino/fp32").__class__(value, value, 10.0, "manual", 0)
    write_thresholds(bundle / THRESHOLDS_FILE, thresholds.with_threshold("openvino/fp32", changed))


def test_every_bundle_of_one_name_can_be_picked(tmp_path):
    bundles = [write_tiny_bundle(tmp_path / str(run) / "tile", gain=1.0 + run) for run in range(4)]
    with Station.open(bundles, str(tmp_path / "neighbours"), ENGINE) as station:
        assert len(station.lines) == 4
    # All of them are closed again.
    with Station.open(bundles, str(tmp_path / "neighbours"), ENGINE):
        pass


def test_a_word_is_stored_with_the_verdict_that_was_shown(tmp_path):
    bundle = write_tiny_bundle(tmp_path / "tile")
    content = picture(28)
    with Station.open([bundle], "memory:", ENGINE) as station:
        (line,) = station.lines.values()
        first = line.judge(content, "a.png", defect_type="dark").point
        assert first.verdict == "anomalous"
        line.record(first, "right")
        set_threshold(bundle, 120.0)
        second = line.judge(content, "a.png").point
        assert second.verdict == "good"
        line.record(second, "wrong")
        stored = line._store.get(first.point_id)
    assert (stored.verdict, stored.confirmed, stored.defect_type) == ("good", "wrong", "dark")
    assert stored.normalized_score == pytest.approx(second.normalized_score)


def test_a_lost_store_is_named_where_the_neighbors_would_be_and_a_stored_word_is_not_denied(
    tmp_path, monkeypatch
):
    bundle = write_tiny_bundle(tmp_path / "tile")
    with Station.open([bundle], "memory:", ENGINE) as station:
        (line,) = station.lines.values()

        def lost(*_arguments, **_options):
            raise StoreError("expected an answer, found none; check the server")

        monkeypatch.setattr(line._store, "search", lost)
        judged = line.judge(picture(28), "a.png")
        assert judged.prediction.verdict == "anomalous"
        html = render.neighbors(judged.neighbors, judged.store_problem)
        assert "check the server" in html
        assert "No earlier part" not in html
        monkeypatch.setattr(line._store, "count", lost)
        point_id, word, text = _record(line, judged.point, "right")
        assert (point_id, word) == (judged.point.point_id, "right")
        assert "Remembered" in text
        assert "in memory" not in text


def test_the_page_starts_before_its_server_and_finds_it_once_it_is_there(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    bundle = write_tiny_bundle(tmp_path / "tile")
    is_up = threading.Event()
    with (
        qdrant() as url,
        proxied(url, lambda *_: PASS if is_up.is_set() else BUSY) as server,
        Station.open([bundle], server.url, ENGINE) as station,
    ):
        assert f"{server.url}: expected to open a collection" in capsys.readouterr().err
        (line,) = station.lines.values()
        judged = line.judge(picture(28), "a.png")
        assert judged.prediction.verdict == "anomalous"
        assert "503" in judged.store_problem
        with pytest.raises(StoreError, match="503"):
            line.record(judged.point, "right")
        is_up.set()
        line.record(judged.point, "right")
        assert line.remembered() == 1
        assert line.judge(picture(29), "b.png").neighbors[0].point.point_id == judged.point.point_id


def test_an_answer_that_comes_late_is_not_shown_as_the_next_parts(tmp_path):
    bundle = write_tiny_bundle(tmp_path / "tile")
    with Station.open([bundle], "memory:", ENGINE) as station:
        (line,) = station.lines.values()
        first, second = (line.judge(picture(level), f"{level}.png").point for level in (20, 28))
        answer = _record(line, first, "right")
        text, right, wrong = _say(first, answer)
        assert (text, right["interactive"], wrong["interactive"]) == (answer[2], False, True)
        assert _say(second, answer) == (gr.skip(), gr.skip(), gr.skip())
        # But that it was lost is told wherever the operator is by then.
        station.close()
        lost = _record(line, first, "right")
        assert lost[1] == ""
        assert "Not remembered: 20.png" in str(_say(second, lost)[0])


def test_what_was_asked_for_last_is_shown_in_whichever_order_answers_come(tmp_path):
    bundle = write_tiny_bundle(tmp_path / "tile")
    files = [tmp_path / f"{level}.png" for level in (20, 28)]
    for file in files:
        file.write_bytes(picture(int(file.stem)))
    screen = Screen()
    with Station.open([bundle], "memory:", ENGINE) as station:
        (line,) = station.lines.values()

        def slow():
            # The operator goes on to the second part before the first has been looked at.
            assert "28.png" in show(screen, lambda: _judge(line, files[1], name="28.png"))[1]
            return _judge(line, files[0], name="20.png")

        assert show(screen, slow) == (gr.skip(),) * 6
        assert screen.file == str(files[1])
        line.record(screen.point, "right")
        assert "like the box" in str(around_box(station, "0,0,1,1;1", screen))

        def next_part_comes(*_arguments):
            show(screen, lambda: _judge(line, files[0], name="20.png"))
            return ()

        line.like_box = next_part_comes
        assert around_box(station, "0,0,0.5,0.5;2", screen) == gr.skip()
        assert screen.file == str(files[0])


def test_nothing_that_is_asked_while_an_answer_is_under_way_is_dropped(tmp_path):
    """Gradio drops it unless told otherwise: a word on the next part would vanish without a message."""
    with Station.open([write_tiny_bundle(tmp_path / "tile")], "memory:", ENGINE) as station:
        events = build_page(station, {}).config["dependencies"]
    assert len(events) >= 7
    assert {event["trigger_mode"] for event in events} == {"multiple"}


def test_a_word_goes_to_the_model_that_judged_whichever_is_chosen_by_then(tmp_path):
    bundles = [write_tiny_bundle(tmp_path / str(run) / "tile", gain=1.0 + run) for run in range(2)]
    file = tmp_path / "a.png"
    file.write_bytes(picture(28))
    screen = Screen()
    with Station.open(bundles, str(tmp_path / "neighbours"), ENGINE) as station:
        for line in station.lines.values():
            show(screen, lambda line=line: _judge(line, file, name="a.png"))
            assert "Remembered" in give(station, screen, "right")[0]
        assert [line.remembered() for line in station.lines.values()] == [1, 1]
        assert "inspect one first" in give(station, Screen(), "right")[0]


def test_samples_are_of_the_bundles_own_category(tmp_path):
    for name in ("tile", "grid"):
        (tmp_path / name / "train" / "good").mkdir(parents=True)
        (tmp_path / name / "test" / "dark").mkdir(parents=True)
        (tmp_path / name / "test" / "dark" / f"{name}.png").write_bytes(picture(0))
    found = {
        name: [sample.caption for sample in load_samples(tmp_path, name)]
        for name in ("tile", "leather")
    }
    assert found == {"tile": ["dark tile"], "leather": []}
    # A folder that is no such root has no categories to tell apart.
    assert [sample.caption for sample in load_samples(tmp_path / "grid", "tile")] == ["dark grid"]


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux alone")
def test_a_file_name_that_is_no_utf8_is_indexed_searched_and_shown(tmp_path):
    bundle = write_tiny_bundle(tmp_path / "tile")
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / os.fsdecode(b"Pr\xfcfling.png")).write_bytes(picture(0))
    (folder / "other.png").write_bytes(picture(20))
    lineside("index", bundle, "--images", folder, "--store", tmp_path / "store")
    for command in (
        ("search", bundle, folder, "--store", tmp_path / "store"),
        ("inspect", bundle, folder),
    ):
        assert "Pr\ufffdfling.png" in lineside(*command, "--json")
    captions = sorted(sample.caption for sample in load_samples(folder, "tile"))
    assert [caption.split()[-1] for caption in captions] == ["Pr\ufffdfling", "other"]


def lineside(*arguments):
    command = [sys.executable, "-P", "-m", "lineside", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode("utf-8")


def test_a_search_that_failed_says_so_to_the_shell(tmp_path):
    bundle = write_tiny_bundle(tmp_path / "tile")
    (tmp_path / "no.png").write_bytes(b"no picture")
    command = [
        sys.executable,
        "-P",
        "-m",
        "lineside",
        "search",
        bundle,
        tmp_path / "no.png",
        "--store",
        "memory:",
    ]
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
