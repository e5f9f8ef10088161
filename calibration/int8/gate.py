"""The gate: an INT8 variant enters a bundle only if it judges parts as the fp32 one does."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from runtime.types import Floats, Labels


@dataclass(frozen=True)
class Bounds:
    """What the gate allows.

    Attributes:
        auroc_drop: of image AUROC, where there are bad parts.
        auroc_drop_synthetic: of image AUROC, where synthetic defects stand in for them; on a few
            hundred of them it changes by some 0.002 by chance alone.
        rank_correlation: least Spearman correlation of the scores.
        flips: largest share of parts whose verdict differs, each side with its own threshold.
    """

    auroc_drop: float = 0.003
    auroc_drop_synthetic: float = 0.005
    rank_correlation: float = 0.95
    flips: float = 0.02


@dataclass(frozen=True)
class GateResult:
    """What the gate saw.

    Attributes:
        n_good: good parts compared, unseen in training and quantization, or learned and mirrored.
        n_bad: bad parts compared.
        n_synthetic: synthetic defects compared; 0 where there are bad parts.
        auroc_fp32: image AUROC of the fp32 variant, on bad parts if there are any, else on
            synthetic defects.
        auroc_int8: of the INT8 variant.
        rank_correlation: Spearman's, over all parts that were photographed.
        flips: of these, parts whose verdict differs, each variant with its own threshold.
        bounds: what was allowed.
    """

    n_good: int
    n_bad: int
    n_synthetic: int
    auroc_fp32: float
    auroc_int8: float
    rank_correlation: float
    flips: int
    bounds: Bounds

    @property
    def problems(self) -> list[str]:
        """What is out of bounds, in words; empty if the variant may enter."""
        found, bounds = [], self.bounds
        drop = self.auroc_fp32 - self.auroc_int8
        most, on = bounds.auroc_drop, ""
        if self.n_synthetic:
            most, on = bounds.auroc_drop_synthetic, " on synthetic defects"
        if not drop <= most:
            found.append(
                f"image AUROC{on} falls by {drop:.4f} from {self.auroc_fp32:.4f} (allowed {most:g})"
            )
        if not self.rank_correlation >= bounds.rank_correlation:
            found.append(
                f"scores correlate by {self.rank_correlation:.3f} (at least "
                f"{bounds.rank_correlation:g})"
            )
        photographed = self.n_good + self.n_bad
        # With few parts one flip is more than any share.
        allowed = max(1, int(bounds.flips * photographed))
        if self.flips > allowed:
            found.append(f"{self.flips} of {photographed} verdicts flip (allowed {allowed})")
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)


def compare(
    fp32: Floats,
    int8: Floats,
    n_good: int,
    n_bad: int,
    thresholds: tuple[float, float],
    bounds: Bounds,
) -> GateResult:
    """Compare two variants on the same parts.

    Args:
        fp32: raw scores of the fp32 variant (n,): of good parts, bad parts and synthetic defects,
            in that order.
        int8: of the INT8 variant, likewise.
        n_good: good parts among them.
        n_bad: bad parts among them.
        thresholds: of fp32 and of INT8, set from good parts in the same way.
        bounds: what is allowed.
    """
    photographed = slice(n_good + n_bad)
    exact, quantized = fp32[photographed], int8[photographed]
    labels = np.arange(len(fp32)) >= n_good
    # A score that is no number passes no gate.
    aurocs = [
        auroc(labels, scores) if np.isfinite(scores).all() else math.nan for scores in (fp32, int8)
    ]
    return GateResult(
        n_good=n_good,
        n_bad=n_bad,
        n_synthetic=len(fp32) - n_good - n_bad,
        auroc_fp32=aurocs[0],
        auroc_int8=aurocs[1],
        rank_correlation=rank_correlation(exact, quantized),
        flips=int(((exact > thresholds[0]) != (quantized > thresholds[1])).sum()),
        bounds=bounds,
    )


def auroc(labels: Labels, scores: Floats) -> float:
    """Area under the ROC curve by the ranks of the scores (Mann and Whitney 1947).

    The box that teaches a part has neither SciPy nor scikit-learn, whose results it gives.

    Args:
        labels: which are bad, bool (n,).
        scores: finite (n,).

    Returns:
        A value in [0, 1]; NaN when one class is missing.
    """
    bad = int(labels.sum())
    pairs = bad * (labels.size - bad)
    if not pairs:
        return math.nan
    return float((ranks(scores)[labels].sum() - bad * (bad + 1) / 2) / pairs)


def rank_correlation(one: Floats, other: Floats) -> float:
    """Spearman's, of two (n,); NaN where all of one are the same or some are no numbers."""
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        return math.nan
    first, second = (ranks(scores) - (scores.size + 1) / 2 for scores in (one, other))
    lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / lengths if lengths else math.nan


def ranks(scores: Floats) -> Floats:
    """From 1, the lowest, to n; equal ones share the mean of theirs, (n,)."""
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[place], dtype=np.float64)
