"""The figures of a bundle on labeled test parts, and their averages over categories."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.metrics import (
    Confusion,
    F1Max,
    Interval,
    auroc_interval,
    confusion_at,
    f1_max,
    image_auroc,
)
from calibration.threshold_rules import upper_bound
from runtime.bundle.manifest import Manifest
from runtime.bundle.thresholds import Threshold
from runtime.images.dataset import Part
from runtime.types import Floats, Labels

log = logging.getLogger("lineside")

# The metrics that an average over categories is taken of, and the counts that are summed.
AVERAGED = ("image_auroc", "image_f1_max", "pixel_auroc", "aupro", "aupro_05")
COUNTED = ("n_good", "n_anomalous", "n_skipped", "n_learnt", "n_cannot_judge")
ERRORS = ("false_rejects", "misses", "best_misses")


@dataclass(frozen=True)
class DefectResult:
    """One defect type against all good parts, with misses at the threshold in force."""

    defect_type: str
    n_anomalous: int
    image_auroc: float
    misses: int


@dataclass(frozen=True)
class Evaluation:
    """What a bundle's variant does on labeled test parts.

    Attributes:
        manifest: of the bundle.
        category: the category that was read, which may differ from the one the bundle was trained
            on.
        engine: e.g. ``openvino``.
        precision: e.g. ``fp32``.
        device: e.g. ``CPU``.
        threshold: the threshold in force.
        parts: the parts that were read, in order.
        labels: bool (n,), True for anomalous.
        scores: raw scores (n,).
        skipped: unreadable pictures, with the reason.
        reasons: why a part's picture cannot be judged, in the order of ``parts``, empty where it
            can. Such parts count for the AUROC, which is about the model, but not for false rejects
            and misses: the line shows them to a person.
        pixel_auroc: NaN where no mask exists.
        aupro: up to a false-positive rate of 0.3; NaN where no mask exists.
        aupro_05: the same up to 0.05.
        n_masks: anomalous parts with a mask; those without are left out of both pixel metrics.
        p50_latency_ms: decode to verdict.
        embeddings: descriptors of the parts, float32 (n, D), each of length 1.
        n_learned: parts whose pictures training or calibration has learnt, exact repeats alone; the
            figures are too good then.
    """

    manifest: Manifest
    category: str
    engine: str
    precision: str
    device: str
    threshold: Threshold
    parts: tuple[Part, ...]
    labels: Labels
    scores: Floats
    skipped: tuple[tuple[Path, str], ...]
    pixel_auroc: float
    aupro: float
    aupro_05: float
    n_masks: int
    p50_latency_ms: float
    embeddings: npt.NDArray[np.float32]
    reasons: tuple[str, ...] = ()
    n_learned: int = 0

    @property
    def judged(self) -> Labels:
        """Which parts got a verdict, bool (n,)."""
        if not self.reasons:
            return np.ones(len(self.parts), dtype=np.bool_)
        return np.array([not reason for reason in self.reasons], dtype=np.bool_)

    @property
    def image_auroc(self) -> float:
        """Image AUROC; NaN when one class is missing."""
        return image_auroc(self.labels, self.scores)

    @property
    def image_auroc_interval(self) -> Interval:
        """95 % bootstrap interval of the image AUROC."""
        return auroc_interval(self.labels, self.scores)

    @property
    def image_f1_max(self) -> F1Max:
        """Best F1 over all thresholds, which no real threshold can know in advance."""
        return f1_max(self.labels, self.scores)

    @property
    def confusion(self) -> Confusion:
        """Counts at the threshold in force, of the parts that could be judged."""
        judged = self.judged
        return confusion_at(
            self.labels[judged], self.scores[judged], self.threshold.image_threshold
        )

    @property
    def best_misses(self) -> int:
        """Misses of the best threshold with as many false rejects: what the one in force costs."""
        judged = self.judged
        labels, scores = self.labels[judged], self.scores[judged]
        good = np.sort(scores[~labels])[::-1]
        rejected = self.confusion.false_rejects
        # As low as can be: one more false reject lies just below.
        lowest = good[rejected] if rejected < good.size else -math.inf
        return int((scores[labels] <= lowest).sum())

    @property
    def n_good(self) -> int:
        """Number of good parts."""
        return int((~self.labels).sum())

    @property
    def n_anomalous(self) -> int:
        """Number of anomalous parts."""
        return int(self.labels.sum())

    def by_defect(self) -> list[DefectResult]:
        """One result per defect type, sorted by name."""
        kinds = np.array([part.defect_type for part in self.parts])
        found = []
        for kind in sorted({str(name) for name in kinds[self.labels]}):
            chosen = ~self.labels | (kinds == kind)
            labels, scores = self.labels[chosen], self.scores[chosen]
            misses = int(
                (labels & self.judged[chosen] & (scores <= self.threshold.image_threshold)).sum()
            )
            found.append(DefectResult(kind, int(labels.sum()), image_auroc(labels, scores), misses))
        return found

    def to_json(self) -> dict[str, Any]:
        """The object of ``evaluate --json``; what is undefined is null."""
        interval, best, confusion = self.image_auroc_interval, self.image_f1_max, self.confusion
        judged = self.judged
        return {
            "bundle": self.manifest.name,
            "model": self.manifest.model,
            "category": self.category,
            "engine": self.engine,
            "precision": self.precision,
            "device": self.device,
            "n_good": self.n_good,
            "n_anomalous": self.n_anomalous,
            "n_skipped": len(self.skipped),
            "skipped": [str(path) for path, _ in self.skipped],
            "n_learnt": self.n_learned,
            "n_cannot_judge": int((~judged).sum()),
            "n_cannot_judge_good": int((~judged & ~self.labels).sum()),
            "cannot_judge": [
                {"path": str(part.path), "reason": reason}
                for part, reason in zip(self.parts, self.reasons, strict=False)
                if reason
            ],
            "image_auroc": defined(self.image_auroc),
            "image_auroc_low": defined(interval.low),
            "image_auroc_high": defined(interval.high),
            "image_f1_max": defined(best.f1),
            "image_f1_max_threshold": defined(best.threshold),
            "pixel_auroc": defined(self.pixel_auroc),
            "aupro": defined(self.aupro),
            "aupro_05": defined(self.aupro_05),
            "n_masks": self.n_masks,
            "image_threshold": confusion.threshold,
            "false_rejects": confusion.false_rejects,
            "misses": confusion.misses,
            "best_misses": self.best_misses,
            "false_reject_rate_high": _rate_high(
                confusion.false_rejects, int((judged & ~self.labels).sum())
            ),
            "miss_rate_high": _rate_high(confusion.misses, int((judged & self.labels).sum())),
            "defects": [
                {**asdict(one), "image_auroc": defined(one.image_auroc)} for one in self.by_defect()
            ],
            "p50_latency_ms": round(self.p50_latency_ms, 3),
        }


def averages(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One average row per model that has several bundles.

    Args:
        rows: objects of :meth:`Evaluation.to_json`.

    Returns:
        Rows with ``category`` ``"average"``; a metric is averaged over the rows that define it, and
        is null if none does. Counts are sums.
    """
    found = []
    for model in dict.fromkeys(row["model"] for row in rows):
        mine = [row for row in rows if row["model"] == model]
        if len(mine) < 2:
            continue
        found.append(
            {
                "model": model,
                "category": "average",
                "engine": ", ".join(sorted({row["engine"] for row in mine})),
                "precision": ", ".join(sorted({row["precision"] for row in mine})),
                "n_bundles": len(mine),
                **{key: sum(row[key] for row in mine) for key in COUNTED},
                **{key: mean_of([row[key] for row in mine]) for key in AVERAGED},
                **{key: sum(row[key] for row in mine) for key in ERRORS},
            }
        )
    return found


def mean_of(values: Sequence[float | None]) -> float | None:
    """Mean of the values that are defined; None if none is."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def defined(value: float) -> float | None:
    """The value, or None for NaN: JSON has no NaN."""
    return None if math.isnan(value) else value


def _rate_high(wrong: int, parts: int) -> float | None:
    """95 % upper bound of an error rate, so that 0 of 20 does not read as never."""
    return upper_bound(wrong, parts, 0.95) if parts else None
