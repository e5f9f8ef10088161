"""Whether a box stays as it is: `python -m scripts.soak --minutes 60 BUNDLE`.

Parts are inspected one after another, some of them damaged. Memory, open descriptors and the tail
of the latency at the end are held against those after the first tenth. With ``--page`` a server has
more clients than it has room for, see :mod:`scripts.campaign.load`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from runtime.errors import ImageError
from runtime.inspector import Inspector
from scripts.campaign.load import Loaded, load, now_of

MOST_GROWTH = 0.02
MOST_TAIL = 2.0


@dataclass(frozen=True)
class Soaked:
    """What came of it.

    Attributes:
        parts: inspected.
        seconds: it took.
        growth: of the memory since the first tenth, as a share.
        descriptors: opened since then and never closed.
        p50_ms: median latency, wall clock.
        p99_ms: its tail.
        cpu_p99_over_p50: the same ratio in processor time, which other programs do not disturb.
    """

    parts: int
    seconds: float
    growth: float
    descriptors: int
    p50_ms: float
    p99_ms: float
    cpu_p99_over_p50: float

    @property
    def holds(self) -> bool:
        """Memory, descriptors and the tail are within bounds."""
        steady = self.growth < MOST_GROWTH and self.descriptors <= 0
        return steady and self.cpu_p99_over_p50 < MOST_TAIL


def soak(bundle: Path, seconds: float, parts: int = 1_000_000) -> Soaked:
    """Inspect for so long, or so many parts.

    Args:
        bundle: path of a bundle.
        seconds: at most.
        parts: at most.
    """
    # Filled before the first measurement, so that what is written down does not count as growth.
    walls, works = np.full(parts, np.nan, np.float32), np.full(parts, np.nan, np.float32)
    start = time.monotonic()
    after_a_tenth: tuple[int, int] | None = None
    with Inspector(bundle, canary=True, threads=1) as inspector:
        pictures = _pictures(inspector.size_hw)
        for index, picture in enumerate(itertools.cycle(pictures)):
            spent = time.monotonic() - start
            if spent > seconds or index >= parts:
                break
            if after_a_tenth is None and (spent > seconds / 10 or index >= parts / 10):
                after_a_tenth = now_of(os.getpid())
            wall, work = time.perf_counter(), time.process_time()
            try:
                inspector.inspect(picture)
            except ImageError:
                continue
            walls[index] = 1000 * (time.perf_counter() - wall)
            works[index] = time.process_time() - work
        before, end = after_a_tenth or now_of(os.getpid()), now_of(os.getpid())
    p50, p99 = np.nanpercentile(walls, [50, 99])
    work50, work99 = np.nanpercentile(works, [50, 99])
    return Soaked(
        index,
        time.monotonic() - start,
        end[0] / before[0] - 1,
        end[1] - before[1],
        float(p50),
        float(p99),
        float(work99 / work50),
    )


def _pictures(size_hw: tuple[int, int]) -> list[bytes]:
    """PNGs of the model's size, no two alike; one in eight is cut off."""
    generator = np.random.default_rng(0)
    found = []
    for index in range(40):
        cells = generator.integers(60, 200, (8, 8, 3), dtype=np.uint8)
        data = cv2.imencode(".png", cv2.resize(cells, size_hw[::-1]))[1].tobytes()
        found.append(data[:-40] if index % 8 == 7 else data)
    return found


def main() -> None:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--page", action="store_true", help="load a server with 64 clients")
    arguments = parser.parse_args()
    run: Callable[[Path, float], Loaded | Soaked] = load if arguments.page else soak
    found = run(arguments.bundle, 60 * arguments.minutes)
    print(json.dumps({**asdict(found), "holds": found.holds}))
    sys.exit(not found.holds)


if __name__ == "__main__":
    main()
