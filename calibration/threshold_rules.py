"""Thresholds from good parts alone, and what each promises about good parts that will be rejected.

The promises hold whatever the distribution of the scores; the good images must only be drawn as the
line's good parts are, and training must not have seen them.

* **on average** (split conformal, Vovk et al. 2005; Lei et al. 2018): over many calibrations, the
  mean rate is at most alpha. Of n exchangeable scores the k-th smallest, k = ceil((n + 1)(1 -
  alpha)), is exceeded by a new one with probability at most alpha. With k > n, the largest is the
  best answer, and promises 1 / (n + 1).
* **with confidence** (tolerance bound, Wilks 1941; as training-conditional validity Vovk 2012): of
  this very calibration one can say that its rate is at most alpha, and be right with probability
  ``confidence``. With n scores, the share of good parts at or below the k-th smallest is at least
  Beta(k, n - k + 1) distributed, so the smallest k with P(Binomial(n, 1 - alpha) <= k - 1) >=
  confidence does it. It needs about three times as many images.
* **left out in turn** (the jackknife; Barber et al. 2021, Steinberger and Leeb 2023; for anomaly
  detection Hennhöfer and Preisach 2024): a model that learns all parts leaves no score to set a
  threshold with, so each part is scored by a model of all others. All n scores count, instead of
  a tail of the few that were held out. The mean rate is about alpha, as far as a model of n - 1
  parts scores a new part as the model of n does; no bound is proven without that. There is no
  promise with confidence: the scores share their models.

A new bundle may have too few held-out parts for either: the largest of a handful of scores would
reject good parts by the dozen. Its first threshold is then extrapolated as if the scores were
normal (Student's prediction bound), and its note says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime.bundle.thresholds import Threshold
from runtime.console import percent
from runtime.errors import ThresholdError
from runtime.images.heatmap import upsample_map
from runtime.images.roi import RegionOfInterest
from runtime.types import Float32Map, Floats

# No box sees as many parts as a smaller rate would need.
LEAST_RATE = 1e-9
# Of a first threshold. On photographs a promise of 1 % from the few held-out parts let most defects
# pass; operators set theirs with calibrate.
MAX_FALSE_REJECTS = 0.05
# Deviation of good parts' scores as a share of their mean: 0.02 to 0.09 with PatchCore on the sets
# of the benchmarks, more with EfficientAD, where a threshold is then too low rather than too high.
TYPICAL_SPREAD = 0.05
LEAST_FREEDOM = 3
# A guard against rounding: (n + 1)(1 - alpha) = 19.000000000000004 is rank 19.
_ROUNDING = 1e-9


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
                f"good scores: expected {self.n_good} finite numbers, found {scores.size} of which "
                f"{int(np.isfinite(scores).sum())} are finite; run: lineside verify BUNDLE"
            )
        return float(np.partition(scores, self.rank - 1)[self.rank - 1])

    def threshold(
        self, scores: npt.ArrayLike, peaks: npt.ArrayLike, n_left_out: int = 0
    ) -> Threshold:
        """The thresholds of one variant.

        Args:
            scores: raw scores of good parts (n_good,).
            peaks: highest values of their heat maps (n_good,). The promise behind the pixel
                threshold: a good part shows no flagged pixel, at the same rate.
            n_left_out: how many of the parts were learned, and scored by a model that had not
                seen them: cross-conformal then, which promises nothing with confidence.
        """
        return Threshold(
            image_threshold=self.of(scores),
            pixel_threshold=self.of(peaks),
            median_good_score=float(np.median(np.asarray(scores))),
            method="leave_one_out"
            if n_left_out
            else ("conformal" if self.confidence is None else "tolerance"),
            n_good=self.n_good,
            max_false_rejects=self.max_false_rejects,
            confidence=None if n_left_out else self.confidence,
            note=self.sentence(n_left_out),
        )

    def sentence(self, n_left_out: int = 0) -> str:
        """The promise in one sentence for people; ``n_left_out`` as of :meth:`threshold`."""
        rate, sure = percent(self.max_false_rejects), self.confidence
        how = "on average" if sure is None else f"with {sure:.4g} confidence"
        told = f"at most {rate} of good parts rejected, {how}, from {self.n_good} good images"
        if n_left_out:
            unseen = self.n_good - n_left_out
            each = f": {n_left_out} learned ones, each" if unseen else ", each"
            others = f", and {unseen} new ones" if unseen else ""
            margin = "" if sure is None else f" (with the margin of {sure:.4g} confidence)"
            told = (
                f"about {rate} of good parts rejected{margin}, from {self.n_good} good parts"
                f"{each} scored by a model that had not seen it{others}"
            )
        return (
            told if self.is_kept else f"{told}; {self.n_needed} would allow {percent(self.asked)}"
        )


def promise(n_good: int, max_false_rejects: float, confidence: float | None) -> Promise:
    """The strictest threshold that keeps the asked rate, or the best there is with so few images.

    Args:
        n_good: number of good scores.
        max_false_rejects: asked rate alpha in (0, 1).
        confidence: in (0, 1); None for a promise on average.

    Raises:
        ThresholdError: no score, or a rate outside (0, 1).
    """
    _check_rate("max_false_rejects", max_false_rejects, "0.01")
    if confidence is not None:
        _check_rate("confidence", confidence, "0.95")
    if n_good < 1:
        raise ThresholdError(
            "good images: expected at least one, found none; check the folder of good parts"
        )
    if confidence is None:
        rank = max(1, math.ceil((n_good + 1) * (1.0 - max_false_rejects) - _ROUNDING))
    else:
        rank = tolerance_rank(n_good, max_false_rejects, confidence)
    needed = images_needed(max_false_rejects, confidence)
    # Not by comparing with the number needed: rounding can put the two one apart.
    if rank > n_good:
        rate = best_rate(n_good, confidence)
        return Promise(n_good, n_good, max(needed, n_good + 1), max_false_rejects, rate, confidence)
    return Promise(
        rank, n_good, min(needed, n_good), max_false_rejects, max_false_rejects, confidence
    )


def tolerance_rank(n_good: int, max_false_rejects: float, confidence: float) -> int:
    """Smallest k with P(Binomial(n, 1 - alpha) <= k - 1) >= confidence; n + 1 when no k does."""
    from scipy.stats import binom

    # scipy's quantile function can be off by one from rounding, so the definition has the last
    # word.
    start = max(int(binom.ppf(confidence, n_good, 1.0 - max_false_rejects)) - 1, 0)
    for rank in range(start, n_good + 1):
        if rank >= 1 and binom.cdf(rank - 1, n_good, 1.0 - max_false_rejects) >= confidence:
            return rank
    return n_good + 1


def images_needed(max_false_rejects: float, confidence: float | None) -> int:
    """Number of good images that :func:`promise` needs, e.g. 299 for 0.01 with 0.95."""
    if confidence is None:
        return math.ceil(1.0 / max_false_rejects - 1.0 - _ROUNDING)
    # The largest of n scores is exceeded by more than alpha with probability (1 - alpha)^n.
    return max(1, math.ceil(math.log1p(-confidence) / math.log1p(-max_false_rejects) - _ROUNDING))


def best_rate(n_good: int, confidence: float | None) -> float:
    """Smallest rate that n good images can promise, with the largest score as the threshold."""
    if confidence is None:
        return 1.0 / (n_good + 1)
    return -math.expm1(math.log1p(-confidence) / n_good)


def upper_bound(rejected: int, n_good: int, confidence: float) -> float:
    """One-sided Clopper-Pearson bound of the rate behind ``rejected`` of ``n_good``.

    For a threshold that was *not* chosen on these images.

    Args:
        rejected: good parts rejected, from 0 to ``n_good``.
        n_good: good parts seen.
        confidence: in (0, 1), that the rate is at most this.
    """
    if rejected >= n_good:
        return 1.0
    from scipy.stats import beta

    return float(beta.ppf(confidence, rejected + 1, n_good - rejected))


def first_threshold(
    scores: Floats,
    peaks: Floats,
    max_false_rejects: float = MAX_FALSE_REJECTS,
    *,
    left_out: bool = False,
) -> Threshold:
    """The thresholds that a new bundle starts with, of one variant.

    Args:
        scores: raw scores of good parts that the model which scored them has not seen, (n,).
        peaks: highest values of their heat maps (n,), see :func:`peaks_of`.
        max_false_rejects: asked rate alpha in (0, 1).
        left_out: whether each part was left out in turn; else all were held out.
    """
    promised = promise(len(scores), max_false_rejects, None)
    if promised.is_kept:
        return promised.threshold(scores, peaks, n_left_out=len(scores) if left_out else 0)
    return Threshold(
        image_threshold=prediction_bound(scores, max_false_rejects),
        pixel_threshold=prediction_bound(peaks, max_false_rejects),
        median_good_score=float(np.median(scores)),
        method="prediction_bound",
        n_good=promised.n_good,
        note=f"{_extrapolated(len(scores), left_out)}; it promises nothing, a promise of "
        f"{percent(max_false_rejects)} false rejects needs {promised.n_needed} good parts: "
        "lineside calibrate BUNDLE --good DIR",
    )


def _extrapolated(count: int, left_out: bool) -> str:
    if count == 1 and not left_out:
        return "a guess from one good part and the spread that is usual among good parts"
    which = (
        "good images, each scored by a model that had not seen it,"
        if left_out
        else "held-out good images"
    )
    return f"extrapolated from {count} {which} as if their scores were normal"


def peaks_of(
    maps: Sequence[Float32Map],
    size_hw: tuple[int, int],
    blur_sigma: float,
    roi: RegionOfInterest | None = None,
) -> Floats:
    """Highest values of heat maps (n,).

    Args:
        maps: anomaly maps at feature resolution, float32 (h, w).
        size_hw: model input size; the pixel threshold is about the up-sampled map.
        blur_sigma: blur of the heat map in pixels.
        roi: inside which alone pixels count.
    """
    heats = (upsample_map(one, size_hw, blur_sigma) for one in maps)
    return np.array(
        [(heat if roi is None else roi.apply(heat)).max() for heat in heats], np.float64
    )


def prediction_bound(scores: Floats, rate: float) -> float:
    """Bound that a normal distribution's next score exceeds with probability ``rate``.

    mean + t(df, 1 - rate) * s * sqrt(1 + 1/n), Hahn and Meeker, "Statistical Intervals", section
    4.8, with df = n - 1; never below the largest score. One to three scores say next to nothing
    about their spread: what is missing to three degrees of freedom is filled up with a typical one,
    :data:`TYPICAL_SPREAD` of the mean.

    Args:
        scores: (n,), n >= 1.
        rate: in (0, 1).
    """
    count, mean = len(scores), float(np.mean(scores))
    missing = max(0, LEAST_FREEDOM - (count - 1))
    freedom = count - 1 + missing
    squares = float(np.square(scores - mean).sum()) + missing * (TYPICAL_SPREAD * mean) ** 2
    spread = float(np.sqrt(squares / freedom * (1.0 + 1.0 / count)))
    return max(mean + student_quantile(1.0 - rate, freedom) * spread, float(np.max(scores)))


def student_quantile(probability: float, freedom: int) -> float:
    """Quantile of Student's t distribution; the box that learns a part has no SciPy.

    The distribution function is a finite sum for whole degrees of freedom (Abramowitz and Stegun,
    "Handbook of Mathematical Functions", 26.7.3 and 26.7.4).

    Args:
        probability: in [0.5, 1).
        freedom: degrees of freedom, at least 1.
    """

    def share_within(angle: float) -> float:
        """P(|T| <= t), where tan(angle) is t over the root of the degrees of freedom."""
        odd = freedom % 2
        square = math.cos(angle) ** 2
        term = total = (math.cos(angle) if freedom > 1 else 0.0) if odd else 1.0
        for step in range(2 + odd, freedom - 1, 2):
            term *= square * (step - 1) / step
            total += term
        total *= math.sin(angle)
        return (angle + total) * 2.0 / math.pi if odd else total

    low, high = 0.0, math.pi / 2
    # Halving a float's bits away.
    for _ in range(60):
        middle = (low + high) / 2
        if share_within(middle) < 2.0 * probability - 1.0:
            low = middle
        else:
            high = middle
    return math.tan(low) * math.sqrt(freedom)


def _check_rate(name: str, value: float, example: str) -> None:
    if not LEAST_RATE <= value < 1.0:
        raise ThresholdError(
            f"{name}: expected a number between 0 and 1, at least {LEAST_RATE:g}, found {value}; "
            f"try {example}"
        )
