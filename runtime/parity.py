"""Comparing an engine with the reference: the figures of the parity certificate, at export and on the box alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.heatmap import upsample_map

# Largest difference of a raw score, relative to the range of the reference scores, by precision.
# INT8 has passed a gate of its own (verdicts, ranks, AUROC) and is held to what it said then; it rounds, and processors differ in
# which way.
MAX_RELATIVE_SCORE_DIFFERENCE = {"fp32": 1e-3, "int8": 1e-1}
DEFAULT_BOUND = 5e-2


@dataclass(frozen=True)
class Parity:
    """How far one variant is from anomalib's torch model on the same images.

    Attributes:
        variant: ``engine/precision``.
        device: where it ran.
        images: number of images compared.
        score_range: largest minus smallest reference score.
        max_score_difference: max |d pred_score| / score_range.
        p99_score_difference: 99th percentile of the same.
        max_map_difference: max |d anomaly_map| / range of the reference maps.
        p99_map_difference: 99th percentile of the same over all pixels.
        verdict_flips: images whose verdict differs, each side with its own threshold.
        bound: largest ``max_score_difference`` and ``p99_map_difference`` allowed.
    """

    variant: str
    device: str
    images: int
    score_range: float
    max_score_difference: float
    p99_score_difference: float
    max_map_difference: float
    p99_map_difference: float
    verdict_flips: int
    bound: float

    @property
    def holds(self) -> bool:
        """Whether the variant is within its bound, without a flip."""
        # Each on its own: max() would pass over a difference that is no number.
        near = self.max_score_difference <= self.bound and self.p99_map_difference <= self.bound
        return near and self.verdict_flips == 0

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {**asdict(self), "holds": self.holds}


@dataclass(frozen=True)
class Compared:
    """Scores and maps of one image set, from the reference or from an engine.

    Attributes:
        scores: raw scores, float (n,).
        maps: one float32 array (h, w) an image.
        threshold: the raw threshold that belongs to these scores.
    """

    scores: npt.NDArray[np.float64]
    maps: Sequence[npt.NDArray[np.float32]]
    threshold: float


def compare(
    variant: str, device: str, reference: Compared, found: Compared, score_range: float | None = None
) -> Parity:
    """Compare an engine's results with the reference's.

    Args:
        variant: ``engine/precision``.
        device: where ``found`` was computed.
        reference: anomalib's results.
        found: the engine's, in the same order. A map that is smaller than the reference's is up-sampled bilinearly.
        score_range: range to relate differences to; None takes the reference scores' own.
    """
    spread = float(np.ptp(reference.scores)) if score_range is None else score_range
    score_difference = np.abs(reference.scores - found.scores) / max(spread, 1e-12)
    map_range = max(float(np.ptp(np.concatenate([m.ravel() for m in reference.maps]))), 1e-12)
    map_difference = (
        np.concatenate([_difference(a, b) for a, b in zip(reference.maps, found.maps, strict=True)])
        / map_range
    )
    flips = (reference.scores > reference.threshold) != (found.scores > found.threshold)
    precision = variant.split("/")[-1]
    return Parity(
        variant=variant,
        device=device,
        images=len(reference.scores),
        score_range=spread,
        max_score_difference=float(score_difference.max()),
        p99_score_difference=float(np.quantile(score_difference, 0.99)),
        max_map_difference=float(map_difference.max()),
        p99_map_difference=float(np.quantile(map_difference, 0.99)),
        verdict_flips=int(flips.sum()),
        bound=MAX_RELATIVE_SCORE_DIFFERENCE.get(precision, DEFAULT_BOUND),
    )


def _difference(
    reference: npt.NDArray[np.float32], found: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    if found.shape != reference.shape:
        found = upsample_map(found, (reference.shape[0], reference.shape[1]), 0.0)
    return np.asarray(np.abs(reference - found).ravel(), dtype=np.float32)
