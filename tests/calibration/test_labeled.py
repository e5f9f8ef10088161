"""Thresholds with labelled bad parts, against trying every threshold."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.labeled import Costs, labeled_threshold
from runtime.errors import ThresholdError

some_scores = st.lists(st.integers(0, 12).map(float), min_size=1, max_size=25)


def cost_at(good, bad, costs, threshold):
    share = costs.bad_share if costs.bad_share is not None else len(bad) / (len(good) + len(bad))
    rejected = np.mean(np.array(good) > threshold)
    missed = np.mean(np.array(bad) <= threshold)
    return costs.false_reject * (1 - share) * rejected + costs.missed * share * missed


@given(
    some_scores,
    some_scores,
    st.floats(0.1, 100),
    st.floats(0.1, 100),
    st.one_of(st.none(), st.floats(0.001, 0.9)),
)
def test_no_threshold_costs_less(good, bad, false_reject, missed, share):
    costs = Costs(false_reject, missed, share)
    found = labeled_threshold(good, bad, costs)
    least = min(cost_at(good, bad, costs, t) for t in np.arange(-0.5, 13, 0.5))
    assert cost_at(good, bad, costs, found.value) == pytest.approx(least, abs=1e-9)


def test_dear_misses_lower_the_threshold_and_rare_bad_parts_raise_it():
    rng = np.random.default_rng(0)
    good, bad = rng.normal(0, 1, 300), rng.normal(2, 1, 100)
    cheap, dear = (labeled_threshold(good, bad, Costs(1, missed)).value for missed in (1, 50))
    rare = labeled_threshold(good, bad, Costs(1, 50, bad_share=0.001)).value
    assert dear < cheap < rare


def test_f1_threshold_separates_what_can_be_separated():
    found = labeled_threshold([1.0, 2.0, 3.0], [5.0, 6.0])
    assert 3.0 <= found.value < 5.0
    assert "0 of 3 good parts rejected and 0 of 2 bad parts missed" in found.note


@pytest.mark.parametrize("costs", [(-1, 1), (1, -1), (0, 0), (math.nan, 1), (1, math.inf)], ids=str)
def test_costs_that_make_no_sense_are_refused(costs):
    with pytest.raises(ThresholdError, match="cost"):
        Costs(*costs)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, math.nan])
def test_shares_that_make_no_sense_are_refused(share):
    with pytest.raises(ThresholdError, match="bad_share"):
        Costs(1, 1, share)


@pytest.mark.parametrize(
    ("good", "bad"), [([], [1.0]), ([1.0], []), ([math.nan], [1.0]), ([1.0], [math.inf])]
)
def test_empty_or_not_finite_scores_are_refused(good, bad):
    with pytest.raises(ThresholdError, match="scores"):
        labeled_threshold(good, bad)
