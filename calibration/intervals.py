"""How far an AUROC from a few parts can be trusted."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq

from calibration.metrics import both_classes, checked, image_auroc
from runtime.types import Floats

_BOOTSTRAP_CELLS = 4_000_000
_Z_95 = 1.959963984540054


@dataclass(frozen=True)
class Interval:
    """An interval in [0, 1]; NaN where undefined."""

    low: float
    high: float


def auroc_interval(
    labels: npt.ArrayLike, scores: npt.ArrayLike, *, draws: int = 2000, seed: int = 0
) -> Interval:
    """95 % interval of the image AUROC: percentile bootstrap, resampling good and anomalous parts separately.

    Where the classes are separated perfectly every resample gives 1.0 (or 0.0) and the bootstrap
    says nothing; the end that collapsed then comes from the score interval of Newcombe (2006,
    method 5), which stays honest there.

    Args:
        labels: bool (n,), True for anomalous.
        scores: raw scores (n,).
        draws: number of resamples.
        seed: of the resampling.
    """
    truth, values = checked(labels, scores)
    if not both_classes(truth):
        return Interval(math.nan, math.nan)
    samples = _bootstrap_auroc(values[~truth], values[truth], draws, np.random.default_rng(seed))
    low, high = (float(edge) for edge in np.quantile(samples, [0.025, 0.975]))
    if low < high:
        return Interval(low, high)
    n_good, n_anomalous = int((~truth).sum()), int(truth.sum())
    exact = image_auroc(truth, values)
    return Interval(*_newcombe(exact, n_good, n_anomalous))


def _bootstrap_auroc(
    good: Floats, anomalous: Floats, draws: int, rng: np.random.Generator
) -> Floats:
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
    # An anomalous part beats every good one below it, and ties with half of those at the same
    # score.
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
            1.0
            + extra * (1.0 - candidate) / (2.0 - candidate)
            + extra * candidate / (1.0 + candidate)
        )
        return abs(auroc - candidate) - _Z_95 * math.sqrt(variance)

    tiny = 1e-12
    low = (
        0.0 if auroc <= tiny or distance(tiny) <= 0 else float(brentq(distance, tiny, auroc - tiny))
    )
    high = (
        1.0
        if auroc >= 1.0 - tiny or distance(1.0 - tiny) <= 0
        else float(brentq(distance, auroc + tiny, 1.0 - tiny))
    )
    return low, high
