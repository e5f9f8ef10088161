"""A candidate on this machine: accuracy, latency and memory.

Accuracy is measured on labelled test parts where there are both kinds, on synthetic defects
otherwise: they rank variants; what they say of real defects is little.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from calibration import metrics
from calibration.learning.evidence import load_images
from calibration.synthetic import FAINT_KINDS, synthetic_defects
from export.plan.choose import Measured
from runtime.bench.stages import summarize, time_stages
from runtime.bench.start import measure_cold_start
from runtime.bundle.folder import Bundle
from runtime.errors import DataError, ImageError
from runtime.images.dataset import Category
from runtime.images.preprocess import Source
from runtime.inspector import Inspector
from runtime.progress import track

log = logging.getLogger("lineside")

AccuracyOn = Literal["labelled", "synthetic"]
REPETITIONS = 60
# Good parts that defects are drawn on, and defects in all, whatever the number of parts.
MAX_GOOD = 40
MIN_DEFECTS = 120


@dataclass(frozen=True)
class Exam:
    """Parts with labels.

    Attributes:
        on: where they come from.
        good: pictures of good parts.
        anomalous: pictures of defective ones.
    """

    on: AccuracyOn
    good: Sequence[Source]
    anomalous: Sequence[Source]

    @property
    def title(self) -> str:
        """For people."""
        labelled = self.on == "labelled"
        what = "labelled test parts" if labelled else "synthetic defects on held-out good parts"
        return f"{what} ({len(self.good)} good, {len(self.anomalous)} anomalous)"


def make_exam(
    category: Category, held_out: Sequence[Path], side: int, seed: int, wanted: AccuracyOn | None
) -> Exam:
    """Labelled test parts if there are both kinds, else synthetic defects, faint and small.

    Args:
        category: the data set.
        held_out: good parts that training does not see.
        side: height and width at which defects are drawn; each variant sees the same ones, resized.
        seed: of the defects.
        wanted: insist on one kind; None takes what there is.
    """
    good = [part.path for part in category.test if not part.is_anomalous]
    anomalous = [part.path for part in category.test if part.is_anomalous]
    if wanted != "synthetic" and good and anomalous:
        return Exam("labelled", good, anomalous)
    if wanted == "labelled":
        log.info(
            "--accuracy-on labelled: there are no labelled good and anomalous test parts; "
            "synthetic defects instead"
        )
    parts = load_images(held_out[:MAX_GOOD], (side, side))
    count = max(MIN_DEFECTS, len(parts) * len(FAINT_KINDS))
    drawn = synthetic_defects(parts, count, seed, FAINT_KINDS)
    return Exam("synthetic", parts, list(track(drawn, "synthetic defects", count)))


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
            on: dict[str, Any] = {"engine": variant.engine, "precision": variant.precision}
            options = {**on, "device": device, "threads": threads}
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


def image_auroc(inspector: Inspector, exam: Exam) -> float:
    """Image AUROC of raw scores; pictures that cannot be read are left out.

    Raises:
        DataError: fewer than two kinds are left.
    """
    labels: list[bool] = []
    scores: list[float] = []
    parts = [(one, False) for one in exam.good] + [(one, True) for one in exam.anomalous]
    for source, anomalous in track(parts, "accuracy"):
        try:
            scores.append(inspector.inspect(source, strict=True).pred_score)
        except ImageError as error:
            log.warning(f"skipped: {error}")
            continue
        labels.append(anomalous)
    if len(set(labels)) < 2:
        raise DataError(
            "plan: expected readable good and anomalous pictures to compare candidates on, found "
            f"{labels.count(False)} good and {labels.count(True)} anomalous ones; mend the "
            "pictures named above, or use --accuracy-on synthetic"
        )
    return metrics.image_auroc(labels, scores)
