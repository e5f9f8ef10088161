"""Latency of one bundle on this machine: per stage, cold start and memory."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runtime.errors import EngineError
from runtime.inspector import Inspector
from runtime.preprocess import decode_rgb, resize
from runtime.progress import track

# One picture in a fresh interpreter; the moment of the first verdict and the peak memory go to stdout.
_COLD_START = """
import json, sys, time
from pathlib import Path
from runtime.inspector import Inspector
from runtime.bench import peak_rss_mib
options = json.loads(sys.argv[2])
inspector = Inspector(Path(sys.argv[1]), **options)
inspector.inspect(Path(sys.argv[3]))
print(json.dumps({"at": time.time(), "peak_rss_mib": peak_rss_mib()}))
"""


@dataclass(frozen=True)
class StageTimes:
    """Milliseconds of every repetition, by stage: decode, resize, infer, total."""

    decode: list[float]
    resize: list[float]
    infer: list[float]
    total: list[float]


def time_stages(inspector: Inspector, picture: Path, repetitions: int, warm_up: int = 10) -> StageTimes:
    """Time each stage of inspecting one picture, one at a time.

    Args:
        inspector: what to time.
        picture: file to decode each time.
        repetitions: counted runs.
        warm_up: runs before them.
    """
    times = StageTimes([], [], [], [])
    for index in track(range(warm_up + repetitions), "timing"):
        start = time.perf_counter()
        decoded = decode_rgb(picture)
        after_decode = time.perf_counter()
        resized = resize(decoded, inspector.size_hw)
        after_resize = time.perf_counter()
        inspector.infer(resized)
        end = time.perf_counter()
        if index >= warm_up:
            times.decode.append((after_decode - start) * 1000.0)
            times.resize.append((after_resize - after_decode) * 1000.0)
            times.infer.append((end - after_resize) * 1000.0)
            times.total.append((end - start) * 1000.0)
    return times


def measure_cold_start(bundle: Path, picture: Path, options: dict[str, Any]) -> tuple[float, float]:
    """Start a fresh interpreter, inspect one picture, stop.

    Returns:
        Milliseconds from process start to the first verdict, and the process's peak memory in MiB.

    Raises:
        EngineError: the process failed.
    """
    started = time.time()
    done = subprocess.run(
        [sys.executable, "-c", _COLD_START, str(bundle), json.dumps(options), str(picture)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise EngineError(
            f"cold start: expected a verdict from a fresh process, found: {reason}; run lineside verify"
        )
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return (float(found["at"]) - started) * 1000.0, float(found["peak_rss_mib"])


def peak_rss_mib() -> float:
    """Peak resident memory of this process in MiB; NaN where the platform does not say.

    getrusage would report the parent's peak where that was larger, since the kernel carries it over exec.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return float("nan")
    peak = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return float(peak[0]) / 1024.0 if peak else float("nan")


def summarize(times: StageTimes) -> dict[str, float]:
    """Percentiles of the whole and medians of the stages, in milliseconds."""
    p50, p95, p99 = (float(np.percentile(times.total, q)) for q in (50, 95, 99))
    return {
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "decode_p50_ms": float(np.median(times.decode)),
        "resize_p50_ms": float(np.median(times.resize)),
        "infer_p50_ms": float(np.median(times.infer)),
        "images_per_second": 1000.0 / p50,
    }
