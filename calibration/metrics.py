"""Image-level metrics: pure functions on labels and raw scores. Undefined is NaN.

Labels are True for anomalous parts; a higher score means more anomalous. As everywhere, a part is flagged when its
score is strictly greater than the threshold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from sklearn.metrics import precision_recall_curve, roc_auc_score, roc_curve

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.bool_]
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
class Interval:
    """An interval in [0, 1]; NaN where undefined."""

    low: float
    high: float


@dataclass(frozen=True)
class Confusion:
    """Counts at one threshold; ``false_rejects`` are good parts flagged, ``misses`` anomalous parts let through."""

    threshold: float
    accepted_good: int
    false_rejects: int
    misses: int
    hits: int


def image_auroc(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Area under the ROC curve: the chance that an anomalous part scores higher than a good one (ties count half).

    Args:
        labels: bool (n,), True for anomalous.
        scores: raw scores (n,).

    Returns:
        A value in [0, 1]; NaN when one class is missing.
    """
    truth, values = checked(labels, scores)
    if not _both_classes(truth):
        return math.nan
    return float(roc_auc_score(truth, values))


def f1_max(labels: npt.ArrayLike, scores: npt.ArrayLike) -> F1Max:
    """Largest F1 of the class "anomalous" over all thresholds.

    Args:
        labels: bool (n,), True for anomalous.
        scores: raw scores (n,).

    Returns:
        F1 and a threshold halfway between the lowest flagged score and the highest one left alone; NaN without
        an anomalous part.
    """
    truth, values = checked(labels, scores)
    if not truth.any():
        return F1Max(math.nan, math.nan)
    precision, recall, at_least = precision_recall_curve(truth, values)
    # The last point has no threshold. precision + recall is 0 only where nothing true is flagged.
    precision, recall = precision[:-1], recall[:-1]
    f1 = 2.0 * precision * recall / np.maximum(precision + recall, 1e-300)
    best = int(np.argmax(f1))
    return F1Max(float(f1[best]), halfway_below(values, float(at_least[best])))


def halfway_below(scores: Floats, lowest_flagged: float) -> float:
    """Threshold halfway between a score that must be flagged and the next lower one that occurs.

    Args:
        scores: all raw scores (n,).
        lowest_flagged: one of them.
    """
    lower = scores[scores < lowest_flagged]
    below = float(lower.max()) if lower.size else math.nextafter(lowest_flagged, -math.inf)
    middle = below + (lowest_flagged - below) / 2.0
    # Halfway between neighbouring floats rounds up to the upper one, which would then not be flagged.
    return middle if middle < lowest_flagged else below


def confusion_at(labels: npt.ArrayLike, scores: npt.ArrayLike, threshold: float) -> Confusion:
    """Counts of right and wrong verdicts at a threshold.

    Args:
        labels: bool (n,), True for anomalous.
        scores: raw scores (n,).
        threshold: raw score; strictly above is flagged.
    """
    truth, values = checked(labels, scores)
    flagged = values > threshold
    return Confusion(
        threshold=threshold,
        accepted_good=int((~truth & ~flagged).sum()),
        false_rejects=int((~truth & flagged).sum()),
        misses=int((truth & ~flagged).sum()),
        hits=int((truth & flagged).sum()),
    )


def roc_points(labels: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[Floats, Floats]:
    """ROC curve.

    Returns:
        False-positive and true-positive rates, both (k,) and rising; empty when one class is missing.
    """
    truth, values = checked(labels, scores)
    if not _both_classes(truth):
        return np.empty(0), np.empty(0)
    rates = roc_curve(truth, values)
    return np.asarray(rates[0], np.float64), np.asarray(rates[1], np.float64)


def pr_points(labels: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Precision-recall curve.

    Returns:
        Recall (falling to 0) and precision, both (k,); empty without an anomalous part.
    """
    truth, values = checked(labels, scores)
    if not truth.any():
        return np.empty(0), np.empty(0)
    precision, recall, _ = precision_recall_curve(truth, values)
    return np.asarray(recall, np.float64), np.asarray(precision, np.float64)


def auroc_interval(
    labels: npt.ArrayLike, scores: npt.ArrayLike, *, draws: int = 2000, seed: int = 0
) -> Interval:
    """95 % interval of the image AUROC: percentile bootstrap, resampling good and anomalous parts separately.

    Where the classes are separated perfectly every resample gives 1.0 (or 0.0) and the bootstrap says nothing; the
    end that collapsed then comes from the score interval of Newcombe (2006, method 5), which stays honest there.

    Args:
        labels: bool (n,), True for anomalous.
        scores: raw scores (n,).
        draws: number of resamples.
        seed: of the resampling.
    """
    truth, values = checked(labels, scores)
    if not _both_classes(truth):
        return Interval(math.nan, math.nan)
    samples = _bootstrap_auroc(values[~truth], values[truth], draws, np.random.default_rng(seed))
    low, high = (float(edge) for edge in np.quantile(samples, [0.025, 0.975]))
    if low < high:
        return Interval(low, high)
    n_good, n_anomalous = int((~truth).sum()), int(truth.sum())
    exact = image_auroc(truth, values)
    return Interval(*_newcombe(exact, n_good, n_anomalous))


def _bootstrap_auroc(good: Floats, anomalous: Floats, draws: int, rng: np.random.Generator) -> Floats:
    """AUROC of ``draws`` resamples, by counting: how often each distinct score was drawn in either class."""
    distinct, place = np.unique(np.concatenate([good, anomalous]), return_inverse=True)
    good_at, anomalous_at = place[: good.size], place[good.size :]
    step = max(1, _BOOTSTRAP_CELLS // distinct.size)
    found = [
        _resampled_auroc(good_at, anomalous_at, distinct.size, min(step, draws - start), rng)
        for start in range(0, draws, step)
    ]
    return np.concatenate(found)


def _resampled_auroc(
    good_at: npt.NDArray[np.intp],
    anomalous_at: npt.NDArray[np.intp],
    distinct: int,
    draws: int,
    rng: np.random.Generator,
) -> Floats:
    good = _drawn_counts(good_at, distinct, draws, rng)
    anomalous = _drawn_counts(anomalous_at, distinct, draws, rng)
    # An anomalous part beats every good one below it, and ties with half of those at the same score.
    beaten = np.cumsum(good, axis=1) - 0.5 * good
    wins = (anomalous * beaten).sum(axis=1)
    return np.asarray(wins / (good_at.size * anomalous_at.size), np.float64)


def _drawn_counts(
    places: npt.NDArray[np.intp], distinct: int, draws: int, rng: np.random.Generator
) -> Floats:
    drawn = places[rng.integers(0, places.size, (draws, places.size))]
    rows = np.arange(draws)[:, None] * distinct
    counts = np.bincount((drawn + rows).ravel(), minlength=draws * distinct)
    return counts.reshape(draws, distinct).astype(np.float64)


def _newcombe(auroc: float, n_good: int, n_anomalous: int) -> tuple[float, float]:
    extra = (n_good + n_anomalous) / 2.0 - 1.0

    def distance(candidate: float) -> float:
        variance = candidate * (1.0 - candidate) / (n_good * n_anomalous)
        variance *= (
            1.0 + extra * (1.0 - candidate) / (2.0 - candidate) + extra * candidate / (1.0 + candidate)
        )
        return abs(auroc - candidate) - _Z_95 * math.sqrt(variance)

    tiny = 1e-12
    low = 0.0 if auroc <= tiny or distance(tiny) <= 0 else float(brentq(distance, tiny, auroc - tiny))
    high = (
        1.0
        if auroc >= 1.0 - tiny or distance(1.0 - tiny) <= 0
        else float(brentq(distance, auroc + tiny, 1.0 - tiny))
    )
    return low, high


def checked(labels: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[Labels, Floats]:
    """Labels and scores as flat arrays.

    Raises:
        ValueError: lengths differ, or a score is not finite (a fault of the caller, not of a user).
    """
    truth = np.asarray(labels, dtype=np.bool_).ravel()
    values = np.asarray(scores, dtype=np.float64).ravel()
    if truth.size != values.size or not np.isfinite(values).all():
        raise ValueError(f"expected {truth.size} finite scores, found {values.size} of which some may not be")
    return truth, values


def _both_classes(truth: Labels) -> bool:
    return bool(truth.any() and not truth.all())
