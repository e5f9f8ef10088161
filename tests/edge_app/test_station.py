"""The page's lines, and what becomes of what is asked of them, without a browser."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import cv2
import gradio as gr
import numpy as np
import pytest

from edge_app.page import render
from edge_app.page.choice import load_samples, open_station
from edge_app.page.layout import build_page
from edge_app.page.screen import Screen, around_box, give, look_at, show
from edge_app.serving import serving
from runtime.errors import BundleError, EngineError, PageError, StoreError
from runtime.images.dataset import Part
from tests.cli import lineside
from tests.edge_app.faulty_proxy import BUSY, PASS, proxied
from tests.edge_app.qdrant_stand_in import qdrant
from tests.edge_app.tiny_bundle import write_tiny_bundle
from tests.runtime.unwell import photograph, write_healthy_bundle


def picture(level: int) -> bytes:
    """A grey part with a corner of another level."""
    image = np.full((64, 64, 3), 128, np.uint8)
    image[:16, :16] = level
    return cv2.imencode(".png", image)[1].tobytes()


@pytest.fixture
def bundle(tmp_path):
    return write_tiny_bundle(tmp_path / "tile")


@pytest.fixture
def station(bundle):
    with open_station([bundle], "memory:") as opened:
        yield opened


@pytest.fixture
def line(station):
    return next(iter(station.lines.values()))


def test_every_bundle_of_one_name_can_be_picked(tmp_path):
    bundles = [write_tiny_bundle(tmp_path / str(run) / "tile", gain=1.0 + run) for run in range(4)]
    store = str(tmp_path / "neighbours")
    tile = "tile · PatchCore"
    with open_station(bundles, store) as station:
        assert list(station.lines) == [
            tile,
            f"{tile} · tile",
            f"{tile} · tile (2)",
            f"{tile} · tile (3)",
        ]
    # All of them are closed again.
    again = pytest.raises(BundleError, match=r"found the model of .+ again; name each bundle once")
    with again, open_station([*bundles, bundles[1]], store):
        pass


def test_a_word_is_stored_with_the_verdict_that_was_shown(bundle, line):
    content = picture(28)
    first = line.judge(content, "a.png", Part(Path("a.png"), "dark")).point
    assert first.verdict == "anomalous"
    line.record(first, "right")
    assert lineside("thresholds", bundle, "set", "--image-threshold", "120").returncode == 0
    second = line.judge(content, "a.png").point
    assert second.verdict == "good"
    line.record(second, "wrong")
    stored = line.store.get(first.point_id)
    assert (stored.verdict, stored.confirmed, stored.defect_type) == ("good", "wrong", "dark")
    assert stored.normalized_score == pytest.approx(second.normalized_score)


def test_a_lost_store_is_named_where_the_neighbors_would_be_and_a_stored_word_is_not_denied(
    station, line, tmp_path, monkeypatch
):
    def lost(*_arguments, **_options):
        raise StoreError("expected an answer, found none; check the server")

    file = tmp_path / "a.png"
    file.write_bytes(picture(28))
    monkeypatch.setattr(line.store, "search", lost)
    screen = Screen()
    verdict, _, neighbors, *_ = show(screen, lambda: look_at(line, file))
    assert "Anomalous" in verdict
    assert "check the server" in neighbors
    assert "No earlier part" not in neighbors
    monkeypatch.setattr(line.store, "count", lost)
    text = give(station, "right", screen)[0]
    assert "Remembered" in text
    assert "in memory" not in text


def test_the_page_starts_before_its_server_and_finds_it_once_it_is_there(
    bundle, monkeypatch, caplog
):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    is_up = threading.Event()
    with (
        caplog.at_level("INFO", "lineside"),
        qdrant() as url,
        proxied(url, lambda *_: PASS if is_up.is_set() else BUSY) as server,
        open_station([bundle], server.url) as station,
    ):
        assert f"{server.url}: expected to open a collection" in caplog.text
        (line,) = station.lines.values()
        judged = line.judge(picture(28), "a.png")
        assert judged.prediction.verdict == "anomalous"
        assert "503" in judged.store_problem
        with pytest.raises(StoreError, match="503"):
            line.record(judged.point, "right")
        is_up.set()
        assert line.record(judged.point, "right") == 1
        assert line.judge(picture(29), "b.png").neighbors[0].point.point_id == judged.point.point_id


def test_a_part_in_work_has_its_verdict_before_the_engine_closes_and_no_other_is_begun(bundle):
    engine_runs, verdicts = threading.Event(), []
    with open_station([bundle], "memory:") as station:
        (line,) = station.lines.values()
        supervisor = line.inspector._engine
        infer = supervisor.infer

        def slow(*arguments):
            engine_runs.set()
            time.sleep(0.3)
            return infer(*arguments)

        supervisor.infer = slow
        thread = threading.Thread(target=lambda: verdicts.append(line.inspect(picture(28))))
        thread.start()
        assert engine_runs.wait(30)
    thread.join()
    assert verdicts[0].prediction.verdict == "anomalous"
    with pytest.raises(EngineError, match="found one that has ended"):
        line.inspect(picture(28))


@pytest.fixture
def files(tmp_path):
    found = [tmp_path / f"{level}.png" for level in (20, 28)]
    for file in found:
        file.write_bytes(picture(int(file.stem)))
    return found


def test_an_answer_that_comes_late_is_not_shown_as_the_next_parts(station, line, files):
    screen = Screen()
    show(screen, lambda: look_at(line, files[0]))
    text, right, wrong = give(station, "right", screen)
    assert "Remembered" in text
    assert (right["interactive"], wrong["interactive"]) == (False, True)
    record = line.record

    def next_part_comes(*arguments):
        show(screen, lambda: look_at(line, files[1]))
        return record(*arguments)

    line.record = next_part_comes
    assert give(station, "wrong", screen) == (gr.skip(), gr.skip(), gr.skip())
    # But that it was lost is told wherever the operator is by then.
    show(screen, lambda: look_at(line, files[0]))
    line.store.close()
    text, right, wrong = give(station, "right", screen)
    assert "Not remembered: 20.png" in text
    assert (right, wrong) == (gr.skip(), gr.skip())


def test_a_word_that_was_not_stored_can_be_given_again(station, line, files):
    screen = Screen()
    show(screen, lambda: look_at(line, files[0]))
    line.store.close()
    text, right, wrong = give(station, "right", screen)
    assert "Not remembered: 20.png" in text
    assert right["interactive"]
    assert wrong["interactive"]


def test_what_was_asked_for_last_is_shown_in_whichever_order_answers_come(station, line, files):
    screen = Screen()

    def slow():
        # The operator goes on to the second part before the first has been looked at.
        assert "28.png" in show(screen, lambda: look_at(line, files[1]))[1]
        return look_at(line, files[0])

    assert show(screen, slow) == (gr.skip(),) * 6
    assert screen.file == files[1]
    line.record(screen.point, "right")
    assert "like the box" in str(around_box(station, "0,0,1,1;1", screen))
    assert "like this one" in str(around_box(station, ";2", screen))
    assert around_box(station, "no box;3", screen) == gr.skip()

    def next_part_comes(*_arguments):
        show(screen, lambda: look_at(line, files[0]))
        return ()

    line.like_box = next_part_comes
    assert around_box(station, "0,0,0.5,0.5;4", screen) == gr.skip()
    assert screen.file == files[0]


def test_a_file_that_is_gone_is_named(line, tmp_path):
    view = look_at(line, tmp_path / "gone.png")
    assert view.point is None
    assert "gone.png: expected a picture, but it cannot be read" in view.verdict


def test_what_comes_from_others_is_escaped(line):
    point = line.judge(picture(28), "<b>.png").point
    assert "<b>.png" not in render.pictures(line.judge(picture(28), "<b>.png"))
    assert "<i>" not in render.problem("<i>")
    assert point.path == "<b>.png"


def test_nothing_that_is_asked_while_an_answer_is_under_way_is_dropped(station):
    """Gradio drops it unless told otherwise: a word on the next part would vanish silently."""
    events = build_page(station).config["dependencies"]
    assert len(events) >= 7
    assert {event["trigger_mode"] for event in events} == {"multiple"}


def test_a_word_goes_to_the_model_that_judged_whichever_is_chosen_by_then(tmp_path, files):
    bundles = [write_tiny_bundle(tmp_path / str(run) / "tile", gain=1.0 + run) for run in range(2)]
    screen = Screen()
    with open_station(bundles, str(tmp_path / "neighbours")) as station:
        for line in station.lines.values():
            show(screen, lambda line=line: look_at(line, files[1]))
            assert "Remembered" in give(station, "right", screen)[0]
        assert [line.store.count() for line in station.lines.values()] == [1, 1]
        assert "inspect one first" in give(station, "right", Screen())[0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"host": "::1"}, "expected a name or an IPv4 address"),
        ({"host": "0.0.0.0"}, "expected a password"),
        ({"root_path": "line3"}, "try --root-path /line3"),
    ],
)
def test_a_page_that_cannot_be_served_is_refused_before_anything_is_opened(options, said):
    with pytest.raises(PageError, match=said), serving([Path("gone")], "memory:", **options):
        pass


@pytest.mark.slow
def test_gradio_has_a_folder_of_its_own(bundle, files, tmp_path, monkeypatch):
    """The shared one may be another user's: here nothing can be written to it."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    (temporary / "gradio").touch()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.delenv("GRADIO_TEMP_DIR", raising=False)
    parts = tmp_path / "parts"
    parts.mkdir()
    files[0].rename(parts / "0.png")
    with serving([bundle], str(tmp_path / "store"), samples=parts, port=0):
        (folder,) = temporary.glob("lineside-page-*")
        assert list(folder.rglob("*.jpeg"))
        assert folder.stat().st_mode & 0o77 == 0
    assert [path.name for path in temporary.iterdir()] == ["gradio"]
    assert "GRADIO_TEMP_DIR" not in os.environ


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
def test_a_file_name_that_is_no_utf8_is_indexed_searched_and_shown(bundle, tmp_path):
    folder, store = tmp_path / "parts", tmp_path / "store"
    folder.mkdir()
    (folder / os.fsdecode(b"Pr\xfcfling.png")).write_bytes(picture(0))
    (folder / "other.png").write_bytes(picture(20))
    assert lineside("index", bundle, "--images", folder, "--store", store).returncode == 0
    for command in (("search", bundle, folder, "--store", store), ("inspect", bundle, folder)):
        assert "Pr\ufffdfling.png" in lineside(*command, "--json").stdout
    captions = sorted(sample.caption for sample in load_samples(folder, "tile"))
    assert [caption.split()[-1] for caption in captions] == ["Pr\ufffdfling", "other"]


def test_what_somebody_tries_on_the_page_raises_nobodys_drift_alarm(tmp_path):
    healthy = write_healthy_bundle(tmp_path / "healthy")
    darker = [
        cv2.imencode(".png", (photograph(seed) * 0.9).astype(np.uint8))[1].tobytes()
        for seed in range(40)
    ]
    with open_station([healthy], "memory:") as station:
        (line,) = station.lines.values()
        for content in darker:
            line.judge(content, "tried.png")
        assert line.alarm is None
        # From a program, they are parts of the line.
        for content in darker:
            line.inspect(content)
        assert line.alarm is not None
