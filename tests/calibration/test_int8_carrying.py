"""INT8 networks for another part: ranges that hold it, and the gate's figures without SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import rankdata, spearmanr
from sklearn.metrics import roc_auc_score

from calibration.int8.carrying import with_zero
from calibration.int8.gate import auroc, rank_correlation, ranks

SCORES = arrays(np.float64, 20, elements=st.integers(-6, 6).map(float))


@given(one=SCORES, other=SCORES)
def test_ranks_are_those_of_scipy_and_scikit_learn(one, other):
    np.testing.assert_array_equal(ranks(one), rankdata(one))
    labels = np.arange(20) % 3 == 0
    assert auroc(labels, one) == pytest.approx(roc_auc_score(labels, one))
    if np.ptp(one) and np.ptp(other):
        found = rank_correlation(one, other)
        assert found == pytest.approx(spearmanr(one, other).statistic, abs=1e-12)


def test_what_has_no_ranks_passes_no_gate():
    same = np.ones(4)
    assert np.isnan(rank_correlation(same, np.arange(4.0)))
    assert np.isnan(rank_correlation(np.arange(4.0), np.array([0.0, 1.0, np.nan, 2.0])))
    assert np.isnan(auroc(np.ones(4, np.bool_), same))


ENDS = st.floats(-100, 100, width=32)


@given(low=ENDS, high=ENDS, levels=st.sampled_from([128, 255, 256]))
def test_a_widened_range_holds_both_ends_and_its_grid_has_a_zero(low, high, levels):
    ends = np.float32(min(low, high)), np.float32(max(low, high))
    found = with_zero(np.array([ends[0]]), np.array([ends[1]]), levels)
    first, last = (float(one[0]) for one in found)
    room = 1e-5 * max(abs(first), abs(last))
    assert first <= min(ends[0], 0.0) + room
    assert last >= max(ends[1], 0.0) - room
    cell = (last - first) / (levels - 1)
    assert cell > 0
    assert first / cell == pytest.approx(round(first / cell), abs=1e-2)
    # At most a cell or two wider than needed, but where one side is next to nothing.
    assert last - first <= 2.1 * max(ends[1], 0.0) + 2.1 * max(-ends[0], 0.0) + 2e-6 + room
