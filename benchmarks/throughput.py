"""Images per second: the plain loop beside the pipeline, from files, a video, and cameras.

    python -m benchmarks.throughput tile-patchcore --images parts/tile/test

The video is made of the same pictures (Motion JPEG). A camera is that video too, but with one frame
in flight as for a live source; all cameras share one compiled model. ``async queue`` is OpenVINO's
own AsyncInferQueue with decoding and resizing in the calling thread, for comparison.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np

from runtime.engines.base import available_cores
from runtime.engines.quiet import ov
from runtime.images.dataset import list_images
from runtime.images.preprocess import decode_rgb, load_image
from runtime.inspector import Inspector
from runtime.pipeline import WINDOW, Feed, inspect_all, inspect_or_error, run_feeds
from runtime.sources import Arrival, arrivals

CAMERAS = (1, 2, 4)
Scores = list[float]


@click.command(help=__doc__)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--images", required=True, type=click.Path(path_type=Path), help="Folder of pictures."
)
@click.option("--engine", default="openvino", type=click.Choice(["openvino", "onnxruntime"]))
@click.option("--precision", default="fp32", show_default=True)
@click.option(
    "--rounds", default=5, show_default=True, help="Turns of each contestant over all pictures."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def main(
    bundle: Path, images: Path, engine: str, precision: str, rounds: int, as_json: bool
) -> None:
    """Time the loop beside the pipeline."""
    paths = list_images(images)
    streams = sorted({1, 2, available_cores()})
    inspectors = {
        n: Inspector(bundle, engine=engine, precision=precision, streams=n) for n in streams
    }
    with tempfile.TemporaryDirectory() as folder:
        video = write_video(paths, Path(folder) / "line.avi")
        tables: dict[str, dict[str, Callable[[], Scores]]] = {
            "files": {},
            "video": {},
            "cameras": {},
        }
        for number, inspector in inspectors.items():
            title = "loop" if number == 1 else f"pipeline, {number} streams"
            tables["files"][title] = partial(from_files, inspector, paths)
            tables["video"][title] = partial(from_video, inspector, video)
        if engine == "openvino":
            model = inspectors[1].bundle.model_path(inspectors[1].variant)
            tables["files"]["async queue"] = async_queue(model, paths, inspectors[1].size_hw)
        for count in CAMERAS:
            shared = inspectors[max(n for n in streams if n <= max(count, 1))]
            tables["cameras"][f"{count} cameras"] = partial(from_cameras, shared, video, count)
        for table, contestants in tables.items():
            for row in compare(contestants, rounds):
                line = {"source": table, "engine": engine, "precision": precision, **row}
                click.echo(
                    json.dumps(line) if as_json else "  ".join(f"{k} {v}" for k, v in line.items())
                )
    for inspector in inspectors.values():
        inspector.close()


def compare(contestants: dict[str, Callable[[], Scores]], rounds: int) -> list[dict[str, Any]]:
    """Rates in turn; ratios to, and score differences from, the first contestant."""
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    scores: dict[str, Scores] = {}
    for turn in range(rounds + 1):
        for name, call in contestants.items():
            start = time.perf_counter()
            scores[name] = call()
            if turn:
                rates[name].append(len(scores[name]) / (time.perf_counter() - start))
    first = next(iter(contestants))
    median = {name: float(np.median(found)) for name, found in rates.items()}
    return [
        {
            "contestant": name,
            "images_per_second": round(median[name], 1),
            "ratio": round(median[name] / median[first], 2),
            "max_score_difference": _difference(scores[name], scores[first]),
        }
        for name in contestants
    ]


def from_files(inspector: Inspector, paths: Sequence[Path]) -> Scores:
    """Through the pipeline; a loop where the inspector has one stream."""
    return [_score(found) for _, found in inspect_all(inspector, paths, lambda path: path)]


def from_video(inspector: Inspector, video: Path) -> Scores:
    """Every frame."""
    frames = arrivals(str(video), threading.Event())
    return [_score(found) for _, found in inspect_all(inspector, frames, lambda part: part.source)]


def from_cameras(inspector: Inspector, video: Path, count: int) -> Scores:
    """Several sources on one compiled model, one frame of each in flight."""
    feeds: list[Feed[Arrival]] = [
        Feed(arrivals(str(video), threading.Event()), 1) for _ in range(count)
    ]
    found = run_feeds(feeds, lambda part: inspect_or_error(inspector, part.source), count)
    return [_score(prediction) for _, prediction in found]


def async_queue(
    model: Path, paths: Sequence[Path], size_hw: tuple[int, int]
) -> Callable[[], Scores]:
    """OpenVINO's AsyncInferQueue with the THROUGHPUT hint."""
    hints = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = ov.Core().compile_model(
        str(model), "CPU", {**hints, "NUM_STREAMS": available_cores()}
    )
    queue = ov.AsyncInferQueue(compiled, WINDOW * available_cores())

    def run() -> Scores:
        scores = [0.0] * len(paths)

        def keep(request: ov.InferRequest, index: int) -> None:
            scores[index] = float(request.get_tensor("pred_score").data.reshape(-1)[0])

        queue.set_callback(keep)
        for index, path in enumerate(paths):
            queue.start_async({"image": load_image(path, size_hw)[None]}, index)
        queue.wait_all()
        return scores

    return run


def write_video(paths: Sequence[Path], target: Path) -> Path:
    """The pictures as Motion JPEG, all at the size of the first."""
    height, width = decode_rgb(paths[0]).shape[:2]
    writer = cv2.VideoWriter(str(target), cv2.VideoWriter.fourcc(*"MJPG"), 10, (width, height))
    for path in paths:
        writer.write(cv2.resize(decode_rgb(path)[:, :, ::-1], (width, height)))
    writer.release()
    return target


def _score(found: Any) -> float:
    return float("nan") if isinstance(found, Exception) else float(found.pred_score)


def _difference(scores: Scores, reference: Scores) -> float | None:
    """Largest difference in order; None where another number of pictures was inspected."""
    return (
        float(np.max(np.abs(np.subtract(scores, reference))))
        if len(scores) == len(reference)
        else None
    )


if __name__ == "__main__":
    main()
