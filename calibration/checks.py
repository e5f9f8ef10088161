"""Is a folder of good parts what it says? Questions asked before a threshold is set on it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from runtime.thresholds import Threshold

# Scores of good parts have a long right tail, so a suspect must lie far beyond it.
SUSPECT_DEVIATIONS = 6.0
_MAD_TO_SIGMA = 1.4826
_MIN_FOR_SUSPECTS = 5


def suspects(good_scores: npt.ArrayLike) -> list[int]:
    """Places of scores so high that the part may be a bad one among the good.

    The spread is the median distance of the scores above the median from it (a one-sided MAD, Rousseeuw and Croux
    1993): up to a quarter of bad parts cannot hide themselves in it.

    Args:
        good_scores: raw scores (n,).

    Returns:
        Indices, highest score first; none with fewer than five scores or without any spread.
    """
    scores = np.asarray(good_scores, dtype=np.float64).ravel()
    if scores.size < _MIN_FOR_SUSPECTS:
        return []
    middle = float(np.median(scores))
    above = scores[scores > middle]
    spread = _MAD_TO_SIGMA * float(np.median(above - middle)) if above.size else 0.0
    if spread <= 0.0:
        return []
    found = np.flatnonzero(scores > middle + SUSPECT_DEVIATIONS * spread)
    return [int(index) for index in found[np.argsort(-scores[found], kind="stable")]]


def look_like_another_part(good_scores: npt.ArrayLike, recorded: Threshold) -> bool:
    """Whether most of the "good" parts would be rejected by the threshold that is recorded now.

    Args:
        good_scores: raw scores (n,).
        recorded: the threshold in force.
    """
    return float(np.median(np.asarray(good_scores, dtype=np.float64))) > recorded.image_threshold


def look_trained_on(good_scores: npt.ArrayLike, recorded: Threshold) -> bool:
    """Whether the scores are so low that these may be the pictures that the model has learnt by heart.

    PatchCore keeps patches of its training pictures, so these score lower than any new part; a threshold set on
    them would reject most good parts.

    Args:
        good_scores: raw scores (n,).
        recorded: the threshold in force.
    """
    span = recorded.image_threshold - recorded.median_good_score
    middle = float(np.median(np.asarray(good_scores, dtype=np.float64)))
    return span > 0.0 and middle < recorded.median_good_score - 0.5 * span
