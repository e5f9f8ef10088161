"""The gate: an INT8 variant enters a bundle only if it judges parts as the fp32 one does."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from calibration.metrics import Floats


@dataclass(frozen=True)
class Bounds:
    """What the gate allows.

    Attributes:
        auroc_drop: of image AUROC, where there are bad parts.
        rank_correlation: least Spearman correlation of the scores.
        flips: largest share of parts whose verdict differs, each side with its own threshold.
    """

    auroc_drop: float = 0.003
    rank_correlation: float = 0.95
    flips: float = 0.02


@dataclass(frozen=True)
class GateResult:
    """What the gate saw.

    Attributes:
        n_good: good parts compared, unseen in training and quantisation.
        n_bad: bad parts compared.
        auroc_fp32: image AUROC of the fp32 variant; None without bad parts.
        auroc_int8: of the INT8 variant.
        rank_correlation: Spearman's, over all parts.
        flips: parts whose verdict differs, each variant with its own threshold.
        bounds: what was allowed.
    """

    n_good: int
    n_bad: int
    auroc_fp32: float | None
    auroc_int8: float | None
    rank_correlation: float
    flips: int
    bounds: Bounds

    @property
    def problems(self) -> list[str]:
        """What is out of bounds, in words; empty if the variant may enter."""
        found = []
        drop = (
            0.0 if self.auroc_fp32 is None or self.auroc_int8 is None else self.auroc_fp32 - self.auroc_int8
        )
        if drop > self.bounds.auroc_drop:
            found.append(
                f"image AUROC falls by {drop:.4f} from {self.auroc_fp32:.4f} (allowed {self.bounds.auroc_drop:g})"
            )
        if not self.rank_correlation >= self.bounds.rank_correlation:
            found.append(
                f"scores correlate by {self.rank_correlation:.3f} (at least {self.bounds.rank_correlation:g})"
            )
        # With few parts one flip is more than any share.
        allowed = max(1, int(self.bounds.flips * (self.n_good + self.n_bad)))
        if self.flips > allowed:
            found.append(f"{self.flips} of {self.n_good + self.n_bad} verdicts flip (allowed {allowed})")
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)


def compare(
    fp32: tuple[Floats, Floats], int8: tuple[Floats, Floats], thresholds: tuple[float, float], bounds: Bounds
) -> GateResult:
    """Compare two variants on the same parts.

    Args:
        fp32: raw scores of good and of bad parts (n,), (m,); m may be 0.
        int8: the same of the INT8 variant.
        thresholds: of fp32 and of INT8, set from good parts in the same way.
        bounds: what is allowed.
    """
    n_good, n_bad = len(fp32[0]), len(fp32[1])
    exact, quantized = np.concatenate(fp32), np.concatenate(int8)
    labels = np.repeat([0, 1], [n_good, n_bad])
    both = n_good > 0 and n_bad > 0
    return GateResult(
        n_good=n_good,
        n_bad=n_bad,
        auroc_fp32=float(roc_auc_score(labels, exact)) if both else None,
        auroc_int8=float(roc_auc_score(labels, quantized)) if both else None,
        rank_correlation=float(spearmanr(exact, quantized).statistic),
        flips=int(((exact > thresholds[0]) != (quantized > thresholds[1])).sum()),
        bounds=bounds,
    )
