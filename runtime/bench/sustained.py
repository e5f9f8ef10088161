"""Minutes without a pause: a box that gets hot lowers its clock, and shows its true latency."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runtime.bench.stages import StageTimes, time_once
from runtime.inspector import Inspector
from runtime.progress import task

# As many intervals as one looks through, but none so short that its median means nothing.
MAX_INTERVALS = 60
MIN_INTERVAL_S = 1.0
# The first and the last fifth of the run are compared; a tenth slower is more than noise on a quiet
# box.
SHARE = 0.2
THROTTLED = 1.10
_CPUS = Path("/sys/devices/system/cpu")


@dataclass(frozen=True)
class Interval:
    """A piece of the run.

    Attributes:
        at_s: its end, in seconds since the start.
        images: parts inspected in it.
        p50_ms: median from file to verdict.
        p99_ms: 99th percentile.
        clock_mhz: mean clock of the cores at its end, or None where the system does not tell.
    """

    at_s: float
    images: int
    p50_ms: float
    p99_ms: float
    clock_mhz: float | None


@dataclass(frozen=True)
class Sustained:
    """A sustained run; ``throttle_events`` is None where the processor does not count them."""

    intervals: list[Interval]
    times: StageTimes
    throttle_events: int | None
    interrupted: bool

    @property
    def drift(self) -> float:
        """Median of the last fifth over that of the first: 1.25 is a quarter slower at the end."""
        return drift_of([interval.p50_ms for interval in self.intervals])

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "seconds": round(self.intervals[-1].at_s, 1),
            "images": len(self.times.total),
            "drift": round(self.drift, 3),
            "throttled": self.drift > THROTTLED or bool(self.throttle_events),
            "throttle_events": self.throttle_events,
            "interrupted": self.interrupted,
            "intervals": [
                {
                    key: value if value is None or key == "images" else round(value, 3)
                    for key, value in asdict(interval).items()
                }
                for interval in self.intervals
            ],
        }


def drift_of(medians_ms: Sequence[float]) -> float:
    """Median of the last fifth of the intervals over that of the first."""
    count = max(1, round(len(medians_ms) * SHARE))
    return float(np.median(medians_ms[-count:]) / np.median(medians_ms[:count]))


def run_sustained(
    inspector: Inspector, picture: Path, seconds: float, clock: Callable[[], float] = time.monotonic
) -> Sustained:
    """Inspect one picture again and again without a pause.

    Ctrl-C ends the run early with what was measured so far.

    Args:
        inspector: what to time.
        picture: file to decode each time.
        seconds: length of the run.
        clock: seconds that only grow.
    """
    length = max(MIN_INTERVAL_S, seconds / MAX_INTERVALS)
    times, intervals = StageTimes(), list[Interval]()
    before, start, interrupted = throttle_events(), clock(), False
    first = 0
    with task("sustained", round(seconds)) as advance:
        try:
            while not intervals or clock() - start < seconds:
                end = clock() + length
                while clock() < end:
                    time_once(inspector, picture, times)
                intervals.append(_interval(times.total[first:], clock() - start))
                first = len(times.total)
                advance(min(round(clock() - start), round(seconds)))
        except KeyboardInterrupt:
            if not times.total:
                raise
            interrupted = True
            if len(times.total) > first:
                intervals.append(_interval(times.total[first:], clock() - start))
    after = throttle_events()
    events = None if before is None or after is None else after - before
    return Sustained(intervals, times, events, interrupted)


def _interval(total_ms: Sequence[float], at_s: float) -> Interval:
    p50, p99 = (float(np.percentile(total_ms, q)) for q in (50, 99))
    return Interval(at_s, len(total_ms), p50, p99, clock_mhz())


def clock_mhz(cpus: Path = _CPUS) -> float | None:
    """Mean clock of the cores in MHz, as Linux reports it; None where it does not."""
    found = _numbers(cpus, "cpufreq/scaling_cur_freq")
    return float(np.mean(found)) / 1000.0 if found else None


def throttle_events(cpus: Path = _CPUS) -> int | None:
    """How often heat has slowed the cores down since they were switched on; None: not counted."""
    found = _numbers(cpus, "thermal_throttle/core_throttle_count")
    return sum(found) if found else None


def _numbers(cpus: Path, name: str) -> list[int]:
    found = []
    for path in sorted(cpus.glob(f"cpu[0-9]*/{name}")):
        try:
            found.append(int(path.read_text(encoding="ascii")))
        except (OSError, ValueError):
            continue
    return found
