"""Many parts at once: the same results in the same order, bounded work in flight, errors in their place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime.errors import EngineError, ImageError
from runtime.inspector import Inspector
from runtime.pipeline import WINDOW, inspect_all
from runtime.preprocess import UInt8Image
from tests.runtime.tiny import write_bundle

STREAMS = 3


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("tiny") / "bundle")


def images(number: int) -> list[UInt8Image]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(number)]


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_the_same_results_in_the_same_order_on_any_number_of_streams(bundle: Path, engine: str) -> None:
    parts = images(40)
    with Inspector(bundle, engine=engine) as one, Inspector(bundle, engine=engine, streams=STREAMS) as many:
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
    assert [isinstance(result, ImageError) for _, result in found] == [index == 3 for index in range(8)]


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
