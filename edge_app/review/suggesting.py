"""A threshold from the parts that operators have said something of.

No promise comes of it: the words are about parts that somebody had a reason to look at. What it
would have changed on the newest parts is counted beside it, and an engineer decides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# Below this many words chance decides.
FEWEST = 10
# How far beyond a part's score, as a share of its distance to a typical good part; never more than
# half the way to the next part.
_MARGIN = 0.1
# Share of the known good parts that it may reject, where the one in force rejects fewer.
_MOST_REJECTED = 0.05


@dataclass(frozen=True)
class Confirmed:
    """A part whose kind somebody has confirmed.

    Attributes:
        raw_score: of the model.
        is_bad: what it is, whatever the verdict was.
    """

    raw_score: float
    is_bad: bool


@dataclass(frozen=True)
class Mistakes:
    """Confirmed parts on the wrong side of a threshold.

    Attributes:
        false_rejects: good ones above it.
        misses: bad ones below it.
    """

    false_rejects: int
    misses: int


def mistakes(confirmed: Sequence[Confirmed], threshold: float) -> Mistakes:
    """What a threshold gets wrong; a part is anomalous strictly above it."""
    return Mistakes(
        sum(not one.is_bad and one.raw_score > threshold for one in confirmed),
        sum(one.is_bad and one.raw_score <= threshold for one in confirmed),
    )


def suggested(
    confirmed: Sequence[Confirmed], in_force: float, median_good: float, missed_cost: float
) -> float | None:
    """The threshold that costs least on the confirmed parts; of equal ones the nearest.

    It rejects no more of the good ones than the one in force, or than one in twenty.
    It moves no further than it has to: a tenth beyond the part that it spares or stops, at most
    half the way to the next one.

    Args:
        confirmed: parts whose kind is known.
        in_force: the threshold now, raw score.
        median_good: raw score of a typical good part; no threshold lies below it.
        missed_cost: what a bad part that passes costs, in good parts that are rejected.

    Returns:
        a raw score; None where there are fewer than :data:`FEWEST` parts, or none is better than
        the one in force.
    """
    if len(confirmed) < FEWEST:
        return None
    good = _sorted(confirmed, is_bad=False)
    bad = _sorted(confirmed, is_bad=True)
    edges = np.unique(np.concatenate([good, bad]))
    # From each edge up to the next nothing changes; below the first every part is rejected.
    lows = np.concatenate([[-np.inf], edges])
    highs = np.concatenate([edges, [np.inf]])
    false_rejects = len(good) - np.searchsorted(good, lows, side="right")
    misses = np.searchsorted(bad, lows, side="right")
    costs = false_rejects + missed_cost * misses
    places = [
        _within(low, high, in_force, median_good)
        for low, high in zip(lows.tolist(), highs.tolist(), strict=True)
    ]
    now = mistakes(confirmed, in_force)
    # Bad parts are far more common among the known ones than on the line: a few that look good
    # would speak for rejecting all.
    most = max(now.false_rejects, _MOST_REJECTED * len(good))
    allowed = [
        (float(price), abs(place - in_force), place)
        for price, place, rejects in zip(costs, places, false_rejects, strict=True)
        if place > median_good and rejects <= most
    ]
    price, _, place = min(allowed, default=(math.inf, 0.0, in_force))
    return place if price < now.false_rejects + missed_cost * now.misses else None


def _within(low: float, high: float, in_force: float, median_good: float) -> float:
    """A place from one score up to the next, near the side that the threshold comes from."""
    half = (high - low) / 2
    if low >= in_force:
        return low + min(half, _MARGIN * abs(low - median_good))
    return high - min(half, _MARGIN * abs(high - median_good))


def _sorted(confirmed: Sequence[Confirmed], *, is_bad: bool) -> npt.NDArray[np.float64]:
    return np.sort(np.array([one.raw_score for one in confirmed if one.is_bad == is_bad], float))
