"""One case: scores compared, then everyone timed in turn, on a decoded picture and from the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import torch

from benchmarks.interleaved import Timing, time_interleaved
from benchmarks.peers.cases import Case, build, pictures
from benchmarks.peers.contestants import BASELINE, lineside, peers, score_of

REFERENCE = "anomalib torch"
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
    checkpoint = build(case)
    contestants = {**peers(checkpoint, folder), **lineside(checkpoint, folder, precisions)}
    image = pictures(1, side=case.size_hw[0])[0]
    picture = file or _camera_picture(folder / "camera.jpg")
    on_image = {name: partial(one.on_image, image) for name, one in contestants.items()}
    on_file = {name: partial(one.on_file, picture) for name, one in contestants.items()}
    return {
        "threads": torch.get_num_threads(),
        "contestants": _table(on_image, rounds),
        "from_file": _table(on_file, rounds),
    }


def _table(calls: Mapping[str, Any], rounds: int) -> dict[str, dict[str, float]]:
    scores = {name: score_of(call()) for name, call in calls.items()}
    timings = time_interleaved(calls, rounds)
    return {name: _row(timing, timings[BASELINE], scores[name], scores[REFERENCE])
            for name, timing in timings.items()}  # fmt: skip


def _row(timing: Timing, base: Timing, score: float, reference: float) -> dict[str, float]:
    return {
        **{key: round(value, 2) for key, value in asdict(timing).items()},
        "times_faster": round(base.p50_ms / timing.p50_ms, 2),
        "score_difference": abs(score - reference) / max(abs(reference), 1e-9),
    }


def _camera_picture(path: Path) -> Path:
    image = pictures(1, side=CAMERA_SIDE)[0]
    cv2.imwrite(str(path), image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    return path
