"""The first threshold's extrapolation: Student's bound where there are scores enough, a typical spread where there are not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from calibration.first_threshold import LEAST_FREEDOM, TYPICAL_SPREAD, prediction_bound

SCORES = st.lists(st.floats(-10, 100), min_size=1, max_size=30)


@given(SCORES)
def test_never_below_the_largest_score(scores):
    assert prediction_bound(np.array(scores), 0.05) >= max(scores)


@pytest.mark.parametrize("count", [LEAST_FREEDOM + 1, 10, 18])
def test_with_enough_scores_it_is_exceeded_as_often_as_promised(count):
    random = np.random.default_rng(count)
    draws = random.normal(3.0, 0.1, (20_000, count + 1))
    exceeded = [row[-1] > prediction_bound(row[:-1], 0.05) for row in draws[:4000]]
    # "Never below the largest score" takes a little more off.
    assert 0.02 < np.mean(exceeded) < 0.06


def test_one_score_is_raised_by_the_bound_of_a_typical_spread():
    expected = 4.0 * (1 + stats.t.ppf(0.95, LEAST_FREEDOM) * TYPICAL_SPREAD * np.sqrt(2.0))
    assert prediction_bound(np.array([4.0]), 0.05) == pytest.approx(expected)


def test_two_scores_that_happen_to_be_equal_do_not_promise_certainty():
    assert prediction_bound(np.array([4.0, 4.0]), 0.05) > 4.1
