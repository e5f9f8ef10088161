"""A candidate's variants on this machine: accuracy, latency and memory, as ``lineside bench`` measures them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from export.plan.accuracy import Exam, image_auroc
from export.plan.choose import Measured
from runtime.bench.stages import summarize, time_stages
from runtime.bench.start import measure_cold_start
from runtime.bundle.folder import Bundle
from runtime.inspector import Inspector

REPETITIONS = 60


def measure_bundle(
    folder: Path,
    prototypes: int | None,
    exam: Exam,
    picture: Path,
    device: str,
    threads: int | None,
) -> list[Measured]:
    """Measure every variant whose engine is installed.

    Accuracy is measured once for each precision: engines of one precision agree by the bundle's
    certificate.

    Args:
        folder: a bundle.
        prototypes: rows of its bank, or None.
        exam: what accuracy is measured on.
        picture: file that is decoded and inspected for the latency.
        device: for OpenVINO; ONNX Runtime runs on the CPU and is left out for another device.
        threads: CPU threads, or None for the engine's choice.
    """
    found: list[Measured] = []
    accuracy: dict[str, float] = {}
    with Bundle.open(folder) as bundle:
        for variant in bundle.manifest.variants:
            elsewhere = variant.engine == "onnxruntime" and device not in ("CPU", "AUTO")
            if elsewhere or importlib.util.find_spec(variant.engine) is None:
                continue
            options: dict[str, Any] = {
                "engine": variant.engine,
                "precision": variant.precision,
                "device": device,
                "threads": threads,
            }
            with Inspector(bundle, **options) as inspector:
                times = summarize(time_stages(inspector, picture, REPETITIONS))
                if variant.precision not in accuracy:
                    accuracy[variant.precision] = image_auroc(inspector, exam)
            cold_start_ms, peak_rss_mib = measure_cold_start(bundle.root, picture, options)
            found.append(
                Measured(
                    bundle.manifest.model,
                    bundle.manifest.input.height,
                    prototypes,
                    variant.engine,
                    variant.precision,
                    accuracy[variant.precision],
                    times["p50_ms"],
                    times["p95_ms"],
                    peak_rss_mib,
                    cold_start_ms,
                )
            )
    return found
