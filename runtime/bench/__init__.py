"""Latency of one bundle on this machine: stages, tail, a sustained run, cold start and memory."""

from __future__ import annotations

import logging
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Unpack

from runtime.bench.stages import StageTimes, Takt, against_takt, summarize, time_stages
from runtime.bench.start import measure_cold_start
from runtime.bench.sustained import Sustained, run_sustained
from runtime.bundle.folder import Bundle
from runtime.bundle.reference import GOLDEN_FOLDER
from runtime.engines.base import EngineOptions
from runtime.inspector import Inspector

log = logging.getLogger("lineside")


@dataclass(frozen=True)
class BenchReport:
    """What was measured.

    Attributes:
        bundle: its name.
        input_hw: height and width of the model's input.
        times: of every counted run.
        cold_start_ms: from the start of a fresh process to its first verdict, model cache warm.
        peak_rss_mib: peak memory of that process; NaN where the system does not tell.
        sustained: the sustained run, if there was one.
        takt: the line's cycle time against these times, if one was given; of the sustained run
            where there was one, for the hot box decides.
    """

    bundle: str
    engine: str
    precision: str
    device: str
    input_hw: tuple[int, int]
    times: StageTimes
    cold_start_ms: float
    peak_rss_mib: float
    sustained: Sustained | None
    takt: Takt | None

    def to_json(self) -> dict[str, Any]:
        """The object of ``bench --json``."""
        memory = self.peak_rss_mib
        return {
            "bundle": self.bundle,
            "engine": self.engine,
            "precision": self.precision,
            "device": self.device,
            "input_hw": list(self.input_hw),
            **{name: round(value, 3) for name, value in summarize(self.times).items()},
            "cold_start_ms": round(self.cold_start_ms, 1),
            "peak_rss_mib": None if math.isnan(memory) else round(memory, 1),
            **({} if self.sustained is None else {"sustained": self.sustained.to_json()}),
            **({} if self.takt is None else asdict(self.takt)),
        }


def measure(
    bundle: Path | str,
    *,
    image: Path | None = None,
    repetitions: int = 100,
    takt_ms: float | None = None,
    minutes: float | None = None,
    **engine: Unpack[EngineOptions],
) -> BenchReport:
    """Measure a bundle on this machine, one part at a time, from the file to the verdict.

    Args:
        bundle: path of a bundle.
        image: picture to inspect, or None for a golden one.
        repetitions: counted runs.
        takt_ms: the line's cycle time, or None.
        minutes: length of a sustained run, or None; Ctrl-C ends it with what was measured.
        **engine: as for :class:`Inspector`; an engine's name.

    Raises:
        BundleError: the bundle is unusable.
        EngineError: the engine is not available, or fails.
        ImageError: the picture cannot be read.
    """
    with Bundle.open(Path(bundle)) as opened:
        picture = image or opened.root / GOLDEN_FOLDER / "0.png"
        with Inspector(opened, **engine) as inspector:
            times = time_stages(inspector, picture, repetitions)
            variant, device = inspector.variant, inspector.device
        # Twice: the first run may fill the model cache, the second shows a start with a warm one.
        measure_cold_start(opened.root, picture, engine)
        cold_start_ms, peak_rss_mib = measure_cold_start(opened.root, picture, engine)
        sustained = None
        if minutes is not None:
            log.info(f"sustained run of {minutes:g} minutes; Ctrl-C ends it with what was measured")
            with Inspector(opened, **engine) as inspector:
                sustained = run_sustained(inspector, picture, minutes * 60.0)
        manifest = opened.manifest
    total = (times if sustained is None else sustained.times).total
    return BenchReport(
        bundle=manifest.name,
        engine=variant.engine,
        precision=variant.precision,
        device=device,
        input_hw=manifest.input.size_hw,
        times=times,
        cold_start_ms=cold_start_ms,
        peak_rss_mib=peak_rss_mib,
        sustained=sustained,
        takt=None if takt_ms is None else against_takt(total, takt_ms),
    )
