"""Thresholds from good parts alone, with a promise about the good parts that will be rejected.

Two promises, both free of any assumption about the distribution of the scores; the good images must
only be drawn as the line's good parts are, and training must not have seen them.

* **on average** (split conformal, Vovk et al. 2005): over many calibrations, the mean rate is at
  most alpha. See :mod:`calibration.conformal`.
* **with confidence** (tolerance bound, Wilks 1941; as training-conditional validity Vovk 2012): of
  this very calibration one can say that its rate is at most alpha, and be right with probability
  ``confidence``. With n scores, the share of good parts at or below the k-th smallest is at least
  Beta(k, n - k + 1) distributed, so the smallest k with P(Binomial(n, 1 - alpha) <= k - 1) >=
  confidence does it. It needs about three times as many images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import beta, binom

from calibration.conformal import conformal_quantile
from runtime.console import percent
from runtime.errors import ThresholdError

LEAST_RATE = 1e-9


@dataclass(frozen=True)
class Promise:
    """Which order statistic is the threshold, and what it promises.

    Attributes:
        rank: the threshold is the ``rank``-th smallest of the good scores, from 1 to ``n_good``.
        n_good: number of good scores.
        n_needed: number of good scores that the asked rate needs.
        asked: the rate asked for.
        max_false_rejects: the rate promised; larger than asked when there are too few scores.
        confidence: probability that the promise holds for this calibration; None if it holds on
            average.
    """

    rank: int
    n_good: int
    n_needed: int
    asked: float
    max_false_rejects: float
    confidence: float | None

    @property
    def is_kept(self) -> bool:
        """Whether there are enough images for the rate asked for."""
        return self.n_good >= self.n_needed

    def of(self, good_scores: npt.ArrayLike) -> float:
        """The threshold.

        Args:
            good_scores: raw scores (n_good,).

        Raises:
            ThresholdError: a score is not finite, or their number is not ``n_good``.
        """
        scores = np.asarray(good_scores, dtype=np.float64).ravel()
        if scores.size != self.n_good or not np.isfinite(scores).all():
            raise ThresholdError(
                f"good scores: expected {self.n_good} finite numbers, found {scores.size} of "
                "which "
                f"{int(np.isfinite(scores).sum())} are finite; run: lineside verify BUNDLE"
            )
        return float(np.partition(scores, self.rank - 1)[self.rank - 1])

    def sentence(self) -> str:
        """The promise in one sentence for people."""
        how = "on average" if self.confidence is None else f"with {self.confidence:.4g} confidence"
        told = f"at most {percent(self.max_false_rejects)} of good parts rejected, {how}, from {self.n_good} good images"
        return (
            told if self.is_kept else f"{told}; {self.n_needed} would allow {percent(self.asked)}"
        )


def promise(n_good: int, max_false_rejects: float, confidence: float | None) -> Promise:
    """The strictest threshold that keeps the asked rate, or the best there is with this many images.

    Args:
        n_good: number of good scores.
        max_false_rejects: asked rate alpha in (0, 1).
        confidence: in (0, 1); None for a promise on average.

    Raises:
        ThresholdError: no score, or a rate outside (0, 1).
    """
    _check_rate("max_false_rejects", max_false_rejects, "0.01")
    if n_good < 1:
        raise ThresholdError(
            "good images: expected at least one, found none; check the folder of good parts"
        )
    if confidence is None:
        # The ranks 1..n as scores: the quantile's value is then the rank itself.
        chosen = conformal_quantile(np.arange(1, n_good + 1), max_false_rejects)
        return Promise(
            int(chosen.value),
            n_good,
            chosen.n_needed,
            max_false_rejects,
            chosen.false_reject_rate,
            None,
        )
    _check_rate("confidence", confidence, "0.95")
    rank = tolerance_rank(n_good, max_false_rejects, confidence)
    # Not by comparing with the number needed: rounding can put the two one apart.
    if rank > n_good:
        needed = max(images_needed(max_false_rejects, confidence), n_good + 1)
        return Promise(
            n_good, n_good, needed, max_false_rejects, best_rate(n_good, confidence), confidence
        )
    needed = min(images_needed(max_false_rejects, confidence), n_good)
    return Promise(rank, n_good, needed, max_false_rejects, max_false_rejects, confidence)


def tolerance_rank(n_good: int, max_false_rejects: float, confidence: float) -> int:
    """Smallest k with P(Binomial(n, 1 - alpha) <= k - 1) >= confidence; n + 1 when no k does.

    Args:
        n_good: number n of good scores.
        max_false_rejects: alpha in (0, 1).
        confidence: in (0, 1).
    """
    # scipy's quantile function can be off by one from rounding, so the definition has the last
    # word.
    start = max(int(binom.ppf(confidence, n_good, 1.0 - max_false_rejects)) - 1, 0)
    for rank in range(start, n_good + 1):
        if rank >= 1 and binom.cdf(rank - 1, n_good, 1.0 - max_false_rejects) >= confidence:
            return rank
    return n_good + 1


def images_needed(max_false_rejects: float, confidence: float | None) -> int:
    """Number of good images from which the asked promise can be kept, e.g. 299 for 0.01 with 0.95.

    Args:
        max_false_rejects: alpha in (0, 1).
        confidence: in (0, 1); None for a promise on average.
    """
    if confidence is None:
        return math.ceil(1.0 / max_false_rejects - 1.0 - 1e-9)
    # The largest of n scores is exceeded by more than alpha with probability (1 - alpha)^n.
    return max(1, math.ceil(math.log1p(-confidence) / math.log1p(-max_false_rejects) - 1e-9))


def best_rate(n_good: int, confidence: float | None) -> float:
    """Smallest rate that n good images can promise, with the largest score as the threshold.

    Args:
        n_good: number of good scores, at least 1.
        confidence: in (0, 1); None for a promise on average.
    """
    if confidence is None:
        return 1.0 / (n_good + 1)
    return -math.expm1(math.log1p(-confidence) / n_good)


def upper_bound(rejected: int, n_good: int, confidence: float) -> float:
    """One-sided Clopper-Pearson bound: the rate behind ``rejected`` of ``n_good`` is at most this, with confidence.

    For a threshold that was *not* chosen on these images.

    Args:
        rejected: good parts rejected, from 0 to ``n_good``.
        n_good: good parts seen.
        confidence: in (0, 1).
    """
    return (
        1.0 if rejected >= n_good else float(beta.ppf(confidence, rejected + 1, n_good - rejected))
    )


def _check_rate(name: str, value: float, example: str) -> None:
    # No box sees as many parts as the smallest of them would need.
    if not LEAST_RATE <= value < 1.0:
        raise ThresholdError(
            f"{name}: expected a number between 0 and 1, at least {LEAST_RATE:g}, found {value}; "
            f"try {example}"
        )
