"""The work behind ``lineside inspect``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import cv2

from runtime import atomic
from runtime.cli import emit_json
from runtime.dataset import list_images
from runtime.errors import ImageError
from runtime.inspector import Inspector
from runtime.prediction import Prediction
from runtime.preprocess import decode_rgb, resize
from runtime.progress import say, track


def run(
    bundle: Path, paths: Sequence[Path], engine: dict[str, Any], *, save_maps: Path | None, as_json: bool
) -> tuple[int, int]:
    """Inspect and print.

    Returns:
        Number of flagged parts, and of files that could not be read.
    """
    pictures = collect(paths)
    flagged = failed = 0
    with Inspector(bundle, **engine) as inspector:
        if save_maps is not None:
            save_maps.mkdir(parents=True, exist_ok=True)
        for index, path in enumerate(track(pictures, "inspecting")):
            try:
                prediction = inspector.inspect(path)
            except ImageError as error:
                failed += 1
                say(f"skipped: {error}")
                continue
            flagged += prediction.verdict == "anomalous"
            _print(path, prediction, as_json=as_json)
            if save_maps is not None:
                _save_map(save_maps / f"{index:05d}_{path.stem}.png", path, prediction)
    if not as_json and len(pictures) > 1:
        say(f"{len(pictures)} pictures: {flagged} anomalous, {failed} unreadable")
    return flagged, failed


def collect(paths: Sequence[Path]) -> list[Path]:
    """Files as given, folders opened.

    Raises:
        DataError: a folder is missing or empty.
    """
    return [found for path in paths for found in ([path] if path.is_file() else list_images(path))]


def _print(path: Path, prediction: Prediction, *, as_json: bool) -> None:
    if as_json:
        emit_json({"path": str(path), **prediction.to_json()})
        return
    click.echo(
        f"{prediction.verdict:<12} raw score {prediction.pred_score:8.3f}  "
        f"(threshold {prediction.threshold.image_threshold:.3f})  {prediction.latency_ms:6.1f} ms  {path}"
    )


def _save_map(target: Path, path: Path, prediction: Prediction) -> None:
    picture = prediction.heat_overlay(resize(decode_rgb(path), prediction.model_hw))
    done, data = cv2.imencode(".png", picture[:, :, ::-1])
    if done:
        atomic.write_bytes(target, data.tobytes())
