"""One picture after the other, with the times that the inspector itself takes of its stages."""

from __future__ import annotations

import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from runtime.inspector import Inspector
from runtime.progress import track

STAGES = ("decode", "resize", "infer", "judge", "post")


def _empty() -> array[float]:
    return array("d")


@dataclass(frozen=True)
class StageTimes:
    """Milliseconds of every repetition, by stage.

    Attributes:
        decode: as ``resize``, ``infer`` and ``judge``: see :class:`runtime.prediction.Times`.
        post: up-sampling and smoothing of the heat map, which happens only when somebody looks.
        total: file to verdict, without ``post``.
    """

    decode: array[float] = field(default_factory=_empty)
    resize: array[float] = field(default_factory=_empty)
    infer: array[float] = field(default_factory=_empty)
    judge: array[float] = field(default_factory=_empty)
    post: array[float] = field(default_factory=_empty)
    total: array[float] = field(default_factory=_empty)


def time_once(inspector: Inspector, picture: Path, times: StageTimes) -> None:
    """Inspect one picture and append to ``times``."""
    prediction = inspector.inspect(picture, strict=True)
    start = time.perf_counter()
    prediction.heat_map()
    times.post.append((time.perf_counter() - start) * 1000.0)
    times.decode.append(prediction.times.decode)
    times.resize.append(prediction.times.resize)
    times.infer.append(prediction.times.infer)
    times.judge.append(prediction.times.judge)
    times.total.append(prediction.latency_ms)


def time_stages(
    inspector: Inspector, picture: Path, repetitions: int, warm_up: int = 10
) -> StageTimes:
    """Time inspecting one picture, one at a time.

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


@dataclass(frozen=True)
class Takt:
    """Whether the line keeps its cycle time, by the 99th percentile: one hiccup in 100 is forgiven.

    Attributes:
        takt_ms: the cycle time.
        keeps_takt: whether it is kept.
        late_share: share of the parts that took longer.
    """

    takt_ms: float
    keeps_takt: bool
    late_share: float


def against_takt(total_ms: Sequence[float], takt_ms: float) -> Takt:
    """Hold the milliseconds of each part, file to verdict, against the line's cycle time."""
    late = int(np.count_nonzero(np.asarray(total_ms) > takt_ms))
    return Takt(takt_ms, bool(np.percentile(total_ms, 99) <= takt_ms), late / len(total_ms))
