"""Many parts at once: the same results in the same order, bounded work in flight, errors in their
place."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime.errors import EngineError, ImageError
from runtime.inspector import Inspector
from runtime.pipeline import WINDOW, Feed, inspect_all, run_feeds
from runtime.types import UInt8Image
from tests.runtime.tiny import write_bundle

STREAMS = 3


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("tiny") / "bundle")


def images(number: int) -> list[UInt8Image]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(number)]


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_the_same_results_in_the_same_order_on_any_number_of_streams(
    bundle: Path, engine: str
) -> None:
    parts = images(40)
    with (
        Inspector(bundle, engine=engine) as one,
        Inspector(bundle, engine=engine, streams=STREAMS) as many,
    ):
        expected = [one.inspect(part) for part in parts]
        found = list(inspect_all(many, range(40), lambda index: parts[index]))
    assert [index for index, _ in found] == list(range(40))
    for (_, prediction), wanted in zip(found, expected, strict=True):
        assert not isinstance(prediction, ImageError)
        assert prediction.pred_score == pytest.approx(wanted.pred_score, rel=1e-5)
        np.testing.assert_allclose(prediction.anomaly_map, wanted.anomaly_map, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("streams", [1, STREAMS])
def test_an_unreadable_picture_keeps_its_place(bundle: Path, tmp_path: Path, streams: int) -> None:
    paths = []
    for index in range(8):
        path = tmp_path / f"{index}.png"
        cv2.imwrite(str(path), images(1)[0])
        paths.append(path)
    paths[3].write_bytes(b"no picture")
    with Inspector(bundle, streams=streams) as inspector:
        found = list(inspect_all(inspector, paths, lambda path: path))
    assert [path for path, _ in found] == paths
    assert [isinstance(result, ImageError) for _, result in found] == [
        index == 3 for index in range(8)
    ]


def test_a_slow_consumer_holds_the_producer_back(bundle: Path) -> None:
    taken = 0

    def endless() -> Iterator[UInt8Image]:
        nonlocal taken
        part = images(1)[0]
        while True:
            taken += 1
            yield part

    with Inspector(bundle, streams=STREAMS) as inspector:
        results = inspect_all(inspector, endless(), lambda part: part)
        for _ in range(5):
            next(results)
        assert taken <= 5 + WINDOW * STREAMS
        results.close()  # type: ignore[attr-defined]


def test_a_failing_engine_is_not_swallowed(bundle: Path) -> None:
    with Inspector(bundle, streams=STREAMS) as inspector, pytest.raises(EngineError):
        list(inspect_all(inspector, [np.zeros((4, 4), np.uint8)], lambda part: part))


def test_a_result_is_handed_on_while_the_source_waits_for_its_next_part() -> None:
    gate = threading.Event()

    def trickle() -> Iterator[int]:
        yield 1
        gate.wait(30)
        yield 2

    results = run_feeds([Feed(trickle(), 4)], lambda item: item * 10, 2)
    assert next(results) == (1, 10)
    gate.set()
    assert list(results) == [(2, 20)]


def test_several_sources_keep_their_own_order_and_a_slow_one_does_not_stop_a_quick_one() -> None:
    def counted(name: str, number: int, pause: float) -> Iterator[tuple[str, int]]:
        for index in range(number):
            time.sleep(pause)
            yield name, index

    feeds = [Feed(counted("slow", 3, 0.2), 1), Feed(counted("quick", 50, 0.0), 4)]
    found = [item for item, _ in run_feeds(feeds, lambda item: item, 2)]
    for name, number in (("slow", 3), ("quick", 50)):
        assert [index for own, index in found if own == name] == list(range(number))
    assert found[-1] == ("slow", 2)
    assert found.index(("quick", 49)) < found.index(("slow", 1))


def test_a_camera_has_one_frame_in_flight() -> None:
    """While the consumer holds a frame's result, no next frame is taken: it would be old by the
    time it is looked at."""
    taken = 0

    def camera() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            yield taken

    results = run_feeds([Feed(camera(), 1)], lambda item: item, 3)
    for number in range(1, 6):
        assert next(results)[0] == number
        time.sleep(0.05)
        assert taken == number
    results.close()  # type: ignore[attr-defined]


def test_closing_ends_every_thread_and_the_source(bundle: Path) -> None:
    closed = threading.Event()
    before = set(threading.enumerate())

    def endless() -> Iterator[UInt8Image]:
        try:
            while True:
                yield images(1)[0]
        finally:
            closed.set()

    with Inspector(bundle, streams=STREAMS) as inspector:
        results = inspect_all(inspector, endless(), lambda part: part)
        next(results)
        results.close()  # type: ignore[attr-defined]
    assert closed.wait(5)
    left = set(threading.enumerate()) - before
    assert [one.name for one in left if one.name.startswith("lineside")] == []


def test_a_source_that_fails_is_not_swallowed() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="disk is gone"):
        list(run_feeds([Feed(broken(), 2)], lambda item: item, 2))
