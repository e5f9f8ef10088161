"""Thresholds where labeled bad parts exist: best F1, or least expected cost.

Both look at the very images that they are then judged on, so neither promises anything about parts
to come.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration.metrics import f1_max, halfway_below
from runtime.console import percent
from runtime.errors import ThresholdError
from runtime.types import Floats


@dataclass(frozen=True)
class Costs:
    """What the two mistakes cost, in any one unit, and how often parts are bad.

    Attributes:
        false_reject: cost of rejecting one good part.
        missed: cost of letting one bad part through.
        bad_share: share of bad parts on the line in (0, 1); None for their share among the images.
    """

    false_reject: float
    missed: float
    bad_share: float | None = None

    def __post_init__(self) -> None:
        for name in ("false_reject", "missed"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0.0):
                raise ThresholdError(
                    f"cost of {name}: expected a number that is not negative, found {value}; try 1"
                )
        if self.false_reject == 0.0 and self.missed == 0.0:
            raise ThresholdError("costs: expected at least one above 0, found none; try 1 and 10")
        if self.bad_share is not None and not 0.0 < self.bad_share < 1.0:
            raise ThresholdError(
                f"bad_share: expected a number between 0 and 1, found {self.bad_share}; try 0.02"
            )


@dataclass(frozen=True)
class LabeledThreshold:
    """A threshold chosen on labeled parts.

    Attributes:
        value: raw score; strictly above is anomalous.
        method: as in thresholds.json.
        note: one sentence for people.
    """

    value: float
    method: str
    note: str


def labeled_threshold(
    good_scores: npt.ArrayLike, bad_scores: npt.ArrayLike, costs: Costs | None = None
) -> LabeledThreshold:
    """The threshold with the least expected cost for each part that passes, or the best F1.

    Args:
        good_scores: raw scores of good parts (n,).
        bad_scores: raw scores of bad parts (m,).
        costs: of both mistakes; None for best F1.

    Raises:
        ThresholdError: either is empty or holds a value that is not finite.
    """
    good, bad = (np.asarray(s, dtype=np.float64).ravel() for s in (good_scores, bad_scores))
    for name, scores in (("good", good), ("bad", bad)):
        if scores.size == 0 or not np.isfinite(scores).all():
            raise ThresholdError(
                f"{name} scores: expected at least one and all finite, found otherwise; check the "
                f"{name} images"
            )
    if costs is None:
        best = f1_max(np.repeat([False, True], [good.size, bad.size]), np.concatenate([good, bad]))
        value, method, reached = best.threshold, "f1_max", f"best F1 ({best.f1:.3f})"
    else:
        value, reached = _least_cost(good, bad, costs)
        method = "cost"
    rejects, misses = int((good > value).sum()), int((bad <= value).sum())
    return LabeledThreshold(
        value,
        method,
        f"{reached}; {rejects} of {good.size} good parts rejected and {misses} of {bad.size} bad "
        "parts missed; promises nothing",
    )


def _least_cost(good: Floats, bad: Floats, costs: Costs) -> tuple[float, str]:
    share = bad.size / (good.size + bad.size) if costs.bad_share is None else costs.bad_share
    scores = np.unique(np.concatenate([good, bad]))
    # Candidate i flags everything from score i on; one more candidate flags nothing.
    accepted, missed = (
        np.append(np.searchsorted(np.sort(found), scores, side="left"), found.size) / found.size
        for found in (good, bad)
    )
    cost = costs.false_reject * (1.0 - share) * (1.0 - accepted) + costs.missed * share * missed
    best = int(np.flatnonzero(cost <= cost.min() + 1e-12)[-1])
    value = float(scores[-1]) if best == scores.size else halfway_below(scores, float(scores[best]))
    return value, (
        f"least cost ({cost[best]:.4g} a part with {percent(share)} bad parts, "
        f"{costs.false_reject:g} a false reject, {costs.missed:g} a miss)"
    )
