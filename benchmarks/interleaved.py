"""Fair timing on a noisy machine: contestants take turns, medians and ratios of one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

# Thread pools go on spinning for some milliseconds after their work, and would take the cores from
# whoever comes next.
_SETTLE_S = 0.05


@dataclass(frozen=True)
class Timing:
    """Latency of one contestant in milliseconds: median and the 10th and 90th percentile."""

    p50_ms: float
    p10_ms: float
    p90_ms: float


def time_interleaved(
    contestants: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 3, burst: int = 3
) -> dict[str, Timing]:
    """Time each contestant in turn.

    Args:
        contestants: callables by name; each call is one inspection.
        rounds: turns that count.
        warm_up: turns before them.
        burst: calls in one turn; the first is not counted, since it finds the caches as its
            neighbour left them.
    """
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(warm_up + rounds):
        for name, call in contestants.items():
            time.sleep(_SETTLE_S)
            for repeat in range(burst):
                start = time.perf_counter()
                call()
                elapsed = (time.perf_counter() - start) * 1000.0
                if turn >= warm_up and repeat > 0:
                    times[name].append(elapsed)
    return {
        name: Timing(*(float(np.percentile(values, q)) for q in (50, 10, 90)))
        for name, values in times.items()
    }
