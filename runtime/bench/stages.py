"""One picture after the other, each stage on the clock."""

from __future__ import annotations

import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from runtime.images.heatmap import upsample_map
from runtime.images.preprocess import decode_rgb, resize
from runtime.inspector import Inspector
from runtime.progress import track

STAGES = ("decode", "resize", "infer", "post")


def _empty() -> array[float]:
    return array("d")


@dataclass(frozen=True)
class StageTimes:
    """Milliseconds of every repetition, by stage.

    Attributes:
        decode: file to uint8 picture.
        resize: to the model's size.
        infer: the graph, score included.
        post: up-sampling and smoothing of the heat map, which happens only when somebody looks.
        total: file to verdict, that is decode, resize and infer.
    """

    decode: array[float] = field(default_factory=_empty)
    resize: array[float] = field(default_factory=_empty)
    infer: array[float] = field(default_factory=_empty)
    post: array[float] = field(default_factory=_empty)
    total: array[float] = field(default_factory=_empty)


def time_once(inspector: Inspector, picture: Path, times: StageTimes) -> float:
    """Inspect one picture and append to ``times``.

    Returns:
        Milliseconds from the file to the verdict.
    """
    start = time.perf_counter()
    decoded = decode_rgb(picture)
    after_decode = time.perf_counter()
    resized = resize(decoded, inspector.size_hw)
    after_resize = time.perf_counter()
    raw = inspector.infer(resized)
    after_infer = time.perf_counter()
    upsample_map(
        raw.anomaly_map, inspector.size_hw, inspector.bundle.manifest.anomaly_map.blur_sigma
    )
    end = time.perf_counter()
    total = (after_infer - start) * 1000.0
    times.decode.append((after_decode - start) * 1000.0)
    times.resize.append((after_resize - after_decode) * 1000.0)
    times.infer.append((after_infer - after_resize) * 1000.0)
    times.post.append((end - after_infer) * 1000.0)
    times.total.append(total)
    return total


def time_stages(
    inspector: Inspector, picture: Path, repetitions: int, warm_up: int = 10
) -> StageTimes:
    """Time each stage of inspecting one picture, one at a time.

    Args:
        inspector: what to time.
        picture: file to decode each time.
        repetitions: counted runs.
        warm_up: runs before them.
    """
    unheeded, times = StageTimes(), StageTimes()
    for index in track(range(warm_up + repetitions), "timing"):
        time_once(inspector, picture, unheeded if index < warm_up else times)
    return times


def summarize(times: StageTimes) -> dict[str, float]:
    """Percentiles of the whole and medians of the stages, in milliseconds.

    ``jitter_ms`` is the standard deviation from the file to the verdict.
    """
    p50, p95, p99 = (float(np.percentile(times.total, q)) for q in (50, 95, 99))
    stages = {f"{stage}_p50_ms": float(np.median(getattr(times, stage))) for stage in STAGES}
    return {
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "max_ms": max(times.total),
        "jitter_ms": float(np.std(times.total)),
        **stages,
        "images_per_second": 1000.0 / p50,
    }


def against_takt(total_ms: Sequence[float], takt_ms: float) -> dict[str, float | bool]:
    """Whether the line's cycle time is kept: by the 99th percentile, so that one hiccup in a hundred is forgiven.

    Args:
        total_ms: milliseconds of each part, file to verdict.
        takt_ms: the line's cycle time.
    """
    late = int(np.count_nonzero(np.asarray(total_ms) > takt_ms))
    return {
        "takt_ms": takt_ms,
        "keeps_takt": bool(np.percentile(total_ms, 99) <= takt_ms),
        "late_share": late / len(total_ms),
    }
