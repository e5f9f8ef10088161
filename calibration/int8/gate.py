"""The gate: an INT8 variant enters a bundle only if it judges parts as the fp32 one does."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from runtime.types import Floats


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
class Scores:
    """Raw scores of one variant.

    Attributes:
        good: of good parts (n,), unseen in training and quantisation.
        bad: of bad parts (m,).
        synthetic: of synthetic defects (k,), looked at where there are no bad parts.
    """

    good: Floats
    bad: Floats
    synthetic: Floats

    @property
    def photographed(self) -> Floats:
        """Of good and bad parts, (n + m,)."""
        return np.concatenate([self.good, self.bad])

    def auroc(self) -> float:
        """Image AUROC of good parts against bad ones, or synthetic ones where there are none; NaN if a score is no number."""
        bad = self.bad if len(self.bad) else self.synthetic
        scores = np.concatenate([self.good, bad])
        if not np.isfinite(scores).all():
            return math.nan
        return float(roc_auc_score(np.repeat([0, 1], [len(self.good), len(bad)]), scores))


@dataclass(frozen=True)
class GateResult:
    """What the gate saw.

    Attributes:
        n_good: good parts compared, unseen in training and quantisation.
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
        found = []
        drop = self.auroc_fp32 - self.auroc_int8
        allowed_drop = (
            self.bounds.auroc_drop_synthetic if self.n_synthetic else self.bounds.auroc_drop
        )
        if not drop <= allowed_drop:
            on = " on synthetic defects" if self.n_synthetic else ""
            found.append(
                f"image AUROC{on} falls by {drop:.4f} from {self.auroc_fp32:.4f} (allowed "
                f"{allowed_drop:g})"
            )
        if not self.rank_correlation >= self.bounds.rank_correlation:
            found.append(
                f"scores correlate by {self.rank_correlation:.3f} (at least "
                f"{self.bounds.rank_correlation:g})"
            )
        # With few parts one flip is more than any share.
        allowed = max(1, int(self.bounds.flips * (self.n_good + self.n_bad)))
        if self.flips > allowed:
            found.append(
                f"{self.flips} of {self.n_good + self.n_bad} verdicts flip (allowed {allowed})"
            )
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)


def compare(
    fp32: Scores, int8: Scores, thresholds: tuple[float, float], bounds: Bounds
) -> GateResult:
    """Compare two variants on the same parts.

    Args:
        fp32: of the fp32 variant.
        int8: of the INT8 variant.
        thresholds: of fp32 and of INT8, set from good parts in the same way.
        bounds: what is allowed.
    """
    exact, quantized = fp32.photographed, int8.photographed
    return GateResult(
        n_good=len(fp32.good),
        n_bad=len(fp32.bad),
        n_synthetic=0 if len(fp32.bad) else len(fp32.synthetic),
        auroc_fp32=fp32.auroc(),
        auroc_int8=int8.auroc(),
        rank_correlation=float(spearmanr(exact, quantized).statistic),
        flips=int(((exact > thresholds[0]) != (quantized > thresholds[1])).sum()),
        bounds=bounds,
    )
