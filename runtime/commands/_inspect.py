"""The work behind ``lineside inspect``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import cv2

from runtime import atomic
from runtime.console import emit_json, say
from runtime.engines.base import available_cores
from runtime.errors import ImageError
from runtime.images.dataset import list_images
from runtime.inspector import Inspector
from runtime.pipeline import inspect_all
from runtime.prediction import Prediction
from runtime.progress import track

# Below this many pictures the second stream's start-up costs more than it brings.
MANY = 16
# A name may have 255 bytes; a temporary one needs some more than the final one.
_LONGEST_STEM = 200


@dataclass
class Counts:
    """Number of parts flagged and of those that cannot be judged, and of files that cannot be read."""

    anomalous: int = 0
    cannot_judge: int = 0
    unreadable: int = 0


def run(
    bundle: Path,
    paths: Sequence[Path],
    engine: dict[str, Any],
    *,
    save_maps: Path | None,
    as_json: bool,
) -> Counts:
    """Inspect and print."""
    pictures = collect(paths)
    counts = Counts()
    # One picture wants the lowest latency, many the most of them per second.
    many = len(pictures) > MANY and engine["device"] == "CPU"
    streams = (engine["threads"] or available_cores()) if many else 1
    with Inspector(bundle, **engine, streams=streams) as inspector:
        if save_maps is not None:
            save_maps.mkdir(parents=True, exist_ok=True)
        found = inspect_all(inspector, pictures, lambda path: path)
        for index, (path, prediction) in enumerate(track(found, "inspecting", len(pictures))):
            if isinstance(prediction, ImageError):
                counts.unreadable += 1
                say(f"skipped: {prediction}")
                continue
            counts.anomalous += prediction.verdict == "anomalous"
            counts.cannot_judge += prediction.verdict == "cannot_judge"
            print_prediction(str(path), prediction, as_json=as_json)
            if save_maps is not None:
                save_map(save_maps, f"{index:05d}_{path.stem}", prediction)
    if not as_json and len(pictures) > 1:
        say(
            f"{len(pictures)} pictures: {counts.anomalous} anomalous, {counts.cannot_judge} "
            "cannot be judged, "
            f"{counts.unreadable} unreadable"
        )
    return counts


def collect(paths: Sequence[Path]) -> list[Path]:
    """Files as given, folders opened.

    Raises:
        DataError: a folder is missing or empty.
    """
    return [found for path in paths for found in ([path] if path.is_file() else list_images(path))]


def print_prediction(name: str, prediction: Prediction, *, as_json: bool) -> None:
    """One line on stdout for one part."""
    if as_json:
        emit_json({"path": name, **prediction.to_json()})
    else:
        click.echo(line_of(name, prediction))


def line_of(name: str, prediction: Prediction) -> str:
    """One line about one part, for people."""
    return (
        f"{prediction.verdict:<12} raw score {prediction.pred_score:8.3f}  "
        f"(threshold {prediction.threshold.image_threshold:.3f})  {prediction.latency_ms:6.1f} ms "
        f" {name}" + (f"  {prediction.reason}" if prediction.reason else "")
    )


def save_map(folder: Path, stem: str, prediction: Prediction) -> None:
    """Write the part with its heat map over it as PNG, at the model's size; a map that cannot be written is told, no more.

    Args:
        folder: where to.
        stem: the file's name without its suffix, cut where it is too long for a disk.
        prediction: of the part.
    """
    if prediction.picture is None:
        return
    short = stem.encode(errors="surrogateescape")[:_LONGEST_STEM].decode(errors="ignore")
    target = folder / f"{short}.png"
    _, data = cv2.imencode(".png", prediction.heat_overlay(prediction.picture)[:, :, ::-1])
    try:
        atomic.write_bytes(target, data.tobytes())
    except OSError as error:
        say(f"{target}: expected to write the heat map, but {error.strerror}; check the disk")
