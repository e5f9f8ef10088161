"""Images per second from files on disk: the plain loop beside the pipeline, in turn, in one process.

python -m benchmarks.throughput tile-patchcore --images parts/tile/test
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import click
import numpy as np

from runtime.dataset import list_images
from runtime.engines.base import available_cores
from runtime.inspector import Inspector
from runtime.pipeline import inspect_all


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--images", required=True, type=click.Path(path_type=Path), help="Folder of pictures.")
@click.option("--engine", default="openvino", type=click.Choice(["openvino", "onnxruntime"]))
@click.option("--rounds", default=5, show_default=True, help="Turns of each contestant over all pictures.")
@click.option("--json", "as_json", is_flag=True)
def main(bundle: Path, images: Path, engine: str, rounds: int, as_json: bool) -> None:
    """Time the loop beside the pipeline."""
    paths = list_images(images)
    streams = sorted({1, 2, available_cores()})
    rates: dict[int, list[float]] = {number: [] for number in streams}
    scores: dict[int, list[float]] = {}
    inspectors = {number: Inspector(bundle, engine=engine, streams=number) for number in streams}
    for turn in range(rounds + 1):
        for number, inspector in inspectors.items():
            start = time.perf_counter()
            found = [prediction for _, prediction in inspect_all(inspector, paths, lambda path: path)]
            if turn:
                rates[number].append(len(paths) / (time.perf_counter() - start))
            scores[number] = [
                prediction.pred_score for prediction in found if not isinstance(prediction, Exception)
            ]
    for inspector in inspectors.values():
        inspector.close()
    loop = float(np.median(rates[1]))
    for number in streams:
        rate = float(np.median(rates[number]))
        row = {"engine": engine, "streams": number, "images_per_second": round(rate, 1), "ratio": round(rate / loop, 2),
               "max_score_difference": float(np.max(np.abs(np.subtract(scores[number], scores[1]))))}  # fmt: skip
        click.echo(json.dumps(row) if as_json else "  ".join(f"{key} {value}" for key, value in row.items()))


if __name__ == "__main__":
    main()
