"""The threshold rule every bundle starts with: the split conformal quantile of held-out good scores.

With n exchangeable good scores, the k-th smallest of them (k = ceil((n + 1)(1 - alpha))) is
exceeded by a new good part with probability at most alpha (Vovk et al. 2005; Lei et al. 2018). With
too few images, k > n: the maximum is then the best distribution-free answer, and the promise it can
keep is 1 / (n + 1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime.errors import ThresholdError


@dataclass(frozen=True)
class ConformalQuantile:
    """A threshold and the false-reject rate that it keeps on average over the draw of the good images.

    Attributes:
        value: the threshold, one of the scores.
        false_reject_rate: promised rate; larger than asked if there were too few scores.
        n_good: number of scores.
        n_needed: number of scores the asked rate needs.
    """

    value: float
    false_reject_rate: float
    n_good: int
    n_needed: int


def conformal_quantile(good_scores: npt.ArrayLike, max_false_rejects: float) -> ConformalQuantile:
    """Threshold from scores of good parts that training did not see.

    Args:
        good_scores: raw scores, shape (n,), float.
        max_false_rejects: asked rate alpha in (0, 1).

    Raises:
        ThresholdError: no score, a score that is not finite, or a rate outside (0, 1).
    """
    scores = np.sort(np.asarray(good_scores, dtype=np.float64).ravel())
    if not 0.0 < max_false_rejects < 1.0:
        raise ThresholdError(
            f"max_false_rejects: expected a rate between 0 and 1, found {max_false_rejects}; try "
            "0.01"
        )
    if scores.size == 0 or not np.isfinite(scores).all():
        raise ThresholdError(
            "good scores: expected at least one and all finite, found otherwise; check the good "
            "images"
        )
    n = int(scores.size)
    # The guard keeps (n + 1)(1 - alpha) = 19.000000000000004 from becoming rank 20.
    rank = max(1, math.ceil((n + 1) * (1.0 - max_false_rejects) - 1e-9))
    needed = math.ceil(1.0 / max_false_rejects - 1.0 - 1e-9)
    if rank > n:
        return ConformalQuantile(float(scores[-1]), 1.0 / (n + 1), n, needed)
    return ConformalQuantile(float(scores[rank - 1]), max_false_rejects, n, needed)
