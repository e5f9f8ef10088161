"""One case: scores compared, then everyone timed in turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import torch

from benchmarks.interleaved import time_interleaved
from benchmarks.peers.cases import Case, pictures
from benchmarks.peers.contestants import BASELINE, lineside, peers, score_of

REFERENCE = "anomalib torch"
OWN_RECIPE = ", own recipe"
# A camera's picture: larger than the model's input, as JPEG.
CAMERA_SIDE = 1024


def run_case(
    case: Case, folder: Path, rounds: int, precisions: Sequence[str], file: Path | None
) -> dict[str, Any]:
    """Build, compare scores, time.

    Args:
        case: the checkpoint.
        folder: for models and pictures.
        rounds: turns of each contestant.
        precisions: of Lineside's variants.
        file: picture for the second table; None draws a part at a camera's size.
    """
    torch.manual_seed(0)
    checkpoint = case.build()
    contestants = {**peers(checkpoint, folder), **lineside(checkpoint, folder, precisions)}
    if (another := case.with_own_recipe()) is not None:
        own = lineside(another.build(), folder / "own", precisions)
        contestants.update({f"{name}{OWN_RECIPE}": one for name, one in own.items()})
    image = pictures(1, side=case.size_hw[0])[0]
    picture = file or _camera_picture(folder / "camera.jpg")
    on_image = {name: partial(one.on_image, image) for name, one in contestants.items()}
    on_file = {name: partial(one.on_file, picture) for name, one in contestants.items()}
    return {
        "threads": torch.get_num_threads(),
        "contestants": _table(on_image, rounds),
        "from_file": _table(on_file, rounds),
    }


def _table(calls: Mapping[str, Any], rounds: int) -> dict[str, dict[str, float | None]]:
    scores = {
        name: None if name.endswith(OWN_RECIPE) else score_of(call())
        for name, call in calls.items()
    }
    timings = time_interleaved(calls, rounds)
    reference = scores[REFERENCE]
    return {
        name: {
            **{key: round(value, 2) for key, value in asdict(timing).items()},
            "times_faster": round(timings[BASELINE].p50_ms / timing.p50_ms, 2),
            "score_difference": _difference(scores[name], reference),
        }
        for name, timing in timings.items()
    }


def _difference(score: float | None, reference: float | None) -> float | None:
    """Relative; None for a model whose scores mean something else."""
    if score is None or reference is None:
        return None
    return abs(score - reference) / max(abs(reference), 1e-9)


def _camera_picture(path: Path) -> Path:
    image = pictures(1, side=CAMERA_SIDE)[0]
    cv2.imwrite(str(path), image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    return path
