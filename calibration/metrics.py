"""Image-level metrics: pure functions on labels, bool (n,), and raw scores (n,). Undefined is NaN.

Labels are True for anomalous parts; a higher score means more anomalous. As everywhere, a part is
flagged when its score is strictly greater than the threshold. What cannot be scored is a fault of
the caller: other lengths, or a score that is not finite, are a ``ValueError``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.stats import rankdata
from sklearn.metrics import precision_recall_curve, roc_auc_score, roc_curve

from runtime.types import Floats, Labels

_BOOTSTRAP_CELLS = 4_000_000
_Z_95 = 1.959963984540054


@dataclass(frozen=True)
class F1Max:
    """The best F1 over all thresholds.

    Attributes:
        f1: in [0, 1], NaN without an anomalous part.
        threshold: raw score; flagging what is strictly above it reaches ``f1``.
    """

    f1: float
    threshold: float


@dataclass(frozen=True)
class Confusion:
    """Counts at one threshold: ``false_rejects`` are good parts, ``misses`` anomalous ones."""

    threshold: float
    accepted_good: int
    false_rejects: int
    misses: int
    hits: int


@dataclass(frozen=True)
class Interval:
    """An interval in [0, 1]; NaN where undefined."""

    low: float
    high: float


def image_auroc(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Area under the ROC curve: how often an anomalous part scores higher than a good one.

    Ties count half.

    Returns:
        A value in [0, 1]; NaN when one class is missing.
    """
    truth, values = _checked(labels, scores)
    if not _both_classes(truth):
        return math.nan
    return float(roc_auc_score(truth, values))


def f1_max(labels: npt.ArrayLike, scores: npt.ArrayLike) -> F1Max:
    """Largest F1 of the class "anomalous" over all thresholds.

    Returns:
        F1 and a threshold halfway between the lowest flagged score and the highest one left alone;
        NaN without an anomalous part.
    """
    truth, values = _checked(labels, scores)
    if not truth.any():
        return F1Max(math.nan, math.nan)
    precision, recall, at_least = precision_recall_curve(truth, values)
    # The last point has no threshold. precision + recall is 0 only where nothing true is flagged.
    precision, recall = precision[:-1], recall[:-1]
    f1 = 2.0 * precision * recall / np.maximum(precision + recall, 1e-300)
    best = int(np.argmax(f1))
    return F1Max(float(f1[best]), halfway_below(values, float(at_least[best])))


def halfway_below(scores: Floats, lowest_flagged: float) -> float:
    """Threshold halfway between a score that must be flagged and the next lower one in (n,)."""
    lower = scores[scores < lowest_flagged]
    below = float(lower.max()) if lower.size else math.nextafter(lowest_flagged, -math.inf)
    middle = below + (lowest_flagged - below) / 2.0
    # Halfway between neighboring floats rounds up to the upper one, which would not be flagged.
    return middle if middle < lowest_flagged else below


def confusion_at(labels: npt.ArrayLike, scores: npt.ArrayLike, threshold: float) -> Confusion:
    """Counts of right and wrong verdicts at a threshold, a raw score."""
    truth, values = _checked(labels, scores)
    flagged = values > threshold
    return Confusion(
        threshold=threshold,
        accepted_good=int((~truth & ~flagged).sum()),
        false_rejects=int((~truth & flagged).sum()),
        misses=int((truth & ~flagged).sum()),
        hits=int((truth & flagged).sum()),
    )


def roc_points(labels: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[Floats, Floats]:
    """False- and true-positive rates, both (k,) and rising; empty without both classes."""
    truth, values = _checked(labels, scores)
    if not _both_classes(truth):
        return np.empty(0), np.empty(0)
    rates = roc_curve(truth, values)
    return np.asarray(rates[0], np.float64), np.asarray(rates[1], np.float64)


def pr_points(labels: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Recall (falling to 0) and precision, both (k,); empty without an anomalous part."""
    truth, values = _checked(labels, scores)
    if not truth.any():
        return np.empty(0), np.empty(0)
    precision, recall, _ = precision_recall_curve(truth, values)
    return np.asarray(recall, np.float64), np.asarray(precision, np.float64)


def auroc_interval(
    labels: npt.ArrayLike, scores: npt.ArrayLike, *, draws: int = 2000, seed: int = 0
) -> Interval:
    """95 % interval of the image AUROC: percentile bootstrap within either class.

    Where the classes are separated perfectly every resample gives 1.0 (or 0.0) and the bootstrap
    says nothing; the end that collapsed then comes from the score interval of Newcombe (2006,
    method 5), which stays honest there.

    Args:
        labels: bool (n,).
        scores: raw scores (n,).
        draws: number of resamples.
        seed: of the resampling.
    """
    truth, values = _checked(labels, scores)
    if not _both_classes(truth):
        return Interval(math.nan, math.nan)
    samples = _bootstrap_auroc(values[~truth], values[truth], draws, np.random.default_rng(seed))
    low, high = (float(edge) for edge in np.quantile(samples, [0.025, 0.975]))
    if low < high:
        return Interval(low, high)
    n_good, n_anomalous = int((~truth).sum()), int(truth.sum())
    return _newcombe(image_auroc(truth, values), n_good, n_anomalous)


def _checked(labels: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[Labels, Floats]:
    truth = np.asarray(labels, dtype=np.bool_).ravel()
    values = np.asarray(scores, dtype=np.float64).ravel()
    if truth.size != values.size or not np.isfinite(values).all():
        raise ValueError(
            f"expected {truth.size} finite scores, found {values.size} of which some may not be"
        )
    return truth, values


def _both_classes(truth: Labels) -> bool:
    return bool(truth.any() and not truth.all())


def _bootstrap_auroc(
    good: Floats, anomalous: Floats, draws: int, rng: np.random.Generator
) -> Floats:
    step = max(1, _BOOTSTRAP_CELLS // (good.size + anomalous.size))
    found = []
    for start in range(0, draws, step):
        rows = min(step, draws - start)
        drawn = [
            scores[rng.integers(0, scores.size, (rows, scores.size))]
            for scores in (good, anomalous)
        ]
        # Mann and Whitney: the anomalous parts' ranks, less those they have among themselves.
        ranks = rankdata(np.concatenate(drawn, axis=1), axis=1)[:, good.size :].sum(axis=1)
        wins = ranks - anomalous.size * (anomalous.size + 1) / 2.0
        found.append(wins / (good.size * anomalous.size))
    return np.concatenate(found)


def _newcombe(auroc: float, n_good: int, n_anomalous: int) -> Interval:
    extra = (n_good + n_anomalous) / 2.0 - 1.0

    def distance(at: float) -> float:
        more = 1.0 + extra * (1.0 - at) / (2.0 - at) + extra * at / (1.0 + at)
        variance = at * (1.0 - at) / (n_good * n_anomalous) * more
        return abs(auroc - at) - _Z_95 * math.sqrt(variance)

    tiny = 1e-12
    low, high = 0.0, 1.0
    if auroc > tiny and distance(tiny) > 0:
        low = float(brentq(distance, tiny, auroc - tiny))
    if auroc < 1.0 - tiny and distance(1.0 - tiny) > 0:
        high = float(brentq(distance, auroc + tiny, 1.0 - tiny))
    return Interval(low, high)
