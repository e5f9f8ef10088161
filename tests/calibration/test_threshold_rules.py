"""The promises: known numbers, an independent law, and a simulation that shows they are kept."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats
from scipy.stats import beta

from calibration import threshold_rules
from calibration.threshold_rules import (
    LEAST_FREEDOM,
    TYPICAL_SPREAD,
    first_threshold,
    peaks_of,
    prediction_bound,
    student_quantile,
)
from runtime.errors import ThresholdError

DRAWS = 4000


@pytest.mark.parametrize(
    ("rate", "confidence", "needed"),
    [
        (0.01, 0.95, 299),
        (0.05, 0.95, 59),
        (0.1, 0.9, 22),
        (0.01, 0.99, 459),
        (0.05, 0.99, 90),
        (0.001, 0.95, 2995),
    ],
)
def test_images_needed_are_those_of_the_tables(rate, confidence, needed):
    """Wilks' sample sizes for one-sided tolerance limits, e.g. 59 for 95/95 and 299 for 99/95."""
    assert threshold_rules.images_needed(rate, confidence) == needed
    assert (1 - rate) ** needed <= 1 - confidence < (1 - rate) ** (needed - 1)


@pytest.mark.parametrize(
    ("rate", "needed"), [(0.01, 99), (0.05, 19), (0.1, 9), (0.02, 49), (0.005, 199)]
)
def test_images_needed_on_average(rate, needed):
    assert threshold_rules.images_needed(rate, None) == needed
    assert threshold_rules.promise(needed, rate, None).is_kept
    assert not threshold_rules.promise(needed - 1, rate, None).is_kept


@given(st.integers(1, 1500), st.floats(0.002, 0.4), st.floats(0.5, 0.995))
def test_rank_is_the_smallest_that_keeps_the_promise(n_good, rate, confidence):
    """The k-th of n scores covers Beta(k, n - k + 1): a law that the code does not use."""
    rank = threshold_rules.tolerance_rank(n_good, rate, confidence)
    enough = n_good >= threshold_rules.images_needed(rate, confidence)
    assert (rank <= n_good) == enough
    if enough:
        assert beta.sf(1 - rate, rank, n_good - rank + 1) >= confidence - 1e-9
        if rank > 1:
            assert beta.sf(1 - rate, rank - 1, n_good - rank + 2) < confidence + 1e-9


@given(st.integers(1, 400), st.floats(1e-9, 1 - 1e-9), st.floats(1e-9, 1 - 1e-9))
@example(1, 0.95, 0.9975)
def test_any_promise_is_one_of_the_scores(n_good, rate, confidence):
    found = threshold_rules.promise(n_good, rate, confidence)
    assert found.of(np.arange(n_good)) == found.rank - 1
    assert found.max_false_rejects >= rate * (1 - 1e-6)


@given(st.integers(1, 2000), st.floats(0.5, 0.999))
def test_best_rate_with_few_images_is_what_their_maximum_keeps(n_good, confidence):
    rate = threshold_rules.best_rate(n_good, confidence)
    assert (1 - rate) ** n_good == pytest.approx(1 - confidence)
    assert threshold_rules.images_needed(min(rate * 1.0001, 0.999999), confidence) <= n_good


def true_rates(promised, draws, seed, values=None):
    """True false-reject rates of many calibrations, scores uniform on [0, 1] or on a grid."""
    rng = np.random.default_rng(seed)
    scores = rng.random((draws, promised.n_good))
    if values is not None:
        scores = np.floor(scores * values) / values
    thresholds = (
        np.array([promised.of(row) for row in scores])
        if draws <= 50
        else (np.partition(scores, promised.rank - 1, axis=1)[:, promised.rank - 1])
    )
    return 1.0 - thresholds if values is None else 1.0 - (thresholds + 1.0 / values)


@pytest.mark.parametrize("n_good", [40, 99, 150, 500])
@pytest.mark.parametrize("rate", [0.01, 0.05, 0.1])
def test_simulation_average_promise_is_kept_and_not_wasteful(n_good, rate):
    promised = threshold_rules.promise(n_good, rate, None)
    rates = true_rates(promised, DRAWS, seed=n_good)
    error = 4 * rates.std() / math.sqrt(DRAWS)
    assert rates.mean() <= promised.max_false_rejects + error
    assert rates.mean() >= promised.max_false_rejects - 1 / (n_good + 1) - error


@pytest.mark.parametrize("n_good", [40, 150, 299, 700])
@pytest.mark.parametrize(("rate", "confidence"), [(0.01, 0.95), (0.05, 0.9), (0.1, 0.99)])
def test_simulation_confident_promise_is_kept(n_good, rate, confidence):
    promised = threshold_rules.promise(n_good, rate, confidence)
    kept = (true_rates(promised, DRAWS, seed=n_good) <= promised.max_false_rejects).mean()
    error = 4 * math.sqrt(confidence * (1 - confidence) / DRAWS)
    assert kept >= confidence - error
    # One rank lower would break it: the threshold is as strict as it may be.
    if promised.is_kept:
        assert beta.sf(1 - rate, promised.rank - 1, n_good - promised.rank + 2) < confidence


@pytest.mark.parametrize("confidence", [None, 0.95])
def test_simulation_promises_hold_with_tied_scores(confidence):
    """Only what lies strictly above is rejected, so ties on a grid can only lower the rate."""
    promised = threshold_rules.promise(300, 0.05, confidence)
    rates = true_rates(promised, DRAWS, seed=5, values=30)
    if confidence is None:
        assert rates.mean() <= 0.05 + 4 * rates.std() / math.sqrt(DRAWS)
    else:
        assert (rates <= 0.05 + 1e-12).mean() >= confidence - 4 * math.sqrt(0.05 * 0.95 / DRAWS)


def test_the_average_promise_alone_often_fails_for_one_calibration():
    """Why confidence exists: of calibrations on 99 images, a third exceed the 1 % on average."""
    promised = threshold_rules.promise(99, 0.01, None)
    assert (true_rates(promised, DRAWS, seed=1) > 0.01).mean() > 0.33


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=80), st.sampled_from([None, 0.9]))
def test_threshold_is_one_of_the_scores_at_the_rank(scores, confidence):
    promised = threshold_rules.promise(len(scores), 0.1, confidence)
    assert promised.of(scores) == sorted(scores)[promised.rank - 1]


def test_too_few_images_promise_less_and_say_what_is_needed():
    promised = threshold_rules.promise(50, 0.01, 0.95)
    assert promised.rank == 50
    assert promised.max_false_rejects == pytest.approx(1 - 0.05 ** (1 / 50))
    assert "50 good images" in promised.sentence()
    assert "299 would allow 1%" in promised.sentence()


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, 2.0, math.nan])
def test_rates_that_are_none_are_refused(rate):
    with pytest.raises(ThresholdError, match="max_false_rejects"):
        threshold_rules.promise(100, rate, 0.95)
    with pytest.raises(ThresholdError, match="confidence"):
        threshold_rules.promise(100, 0.01, rate)


def test_no_image_is_refused():
    with pytest.raises(ThresholdError, match="at least one"):
        threshold_rules.promise(0, 0.01, None)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_scores_that_are_not_finite_are_refused(bad):
    with pytest.raises(ThresholdError, match="finite"):
        threshold_rules.promise(3, 0.01, None).of([1.0, 2.0, bad])


@pytest.mark.parametrize(
    ("rejected", "n_good", "confidence"), [(0, 300, 0.95), (3, 200, 0.95), (10, 50, 0.9)]
)
def test_upper_bound_is_where_so_few_rejects_become_unlikely(rejected, n_good, confidence):
    from scipy.stats import binom

    bound = threshold_rules.upper_bound(rejected, n_good, confidence)
    assert binom.cdf(rejected, n_good, bound) == pytest.approx(1 - confidence, abs=1e-9)


def test_upper_bound_when_all_are_rejected():
    assert threshold_rules.upper_bound(5, 5, 0.95) == 1.0


SCORES = st.lists(st.floats(-10, 100), min_size=1, max_size=30)


@given(SCORES)
def test_never_below_the_largest_score(scores):
    assert prediction_bound(np.array(scores), 0.05) >= max(scores)


@given(
    probability=st.floats(0.5, 1 - 1e-9) | st.sampled_from([0.5, 0.95, 0.99, 0.999]),
    freedom=st.integers(1, 60) | st.just(998),
)
def test_students_quantile_is_scipys(probability, freedom):
    expected = stats.t.ppf(probability, freedom)
    assert student_quantile(probability, freedom) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.slow
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


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200), st.floats(1e-4, 0.999))
def test_the_conformal_quantile_is_an_order_statistic(scores, rate):
    found = threshold_rules.promise(len(scores), rate, None)
    n = len(scores)
    level = math.ceil((n + 1) * (1 - rate) - 1e-9) / n
    if level > 1:
        assert (found.of(scores), found.max_false_rejects) == (max(scores), 1 / (n + 1))
        assert found.n_needed > n
    else:
        expected = np.quantile(np.array(scores), level, method="inverted_cdf")
        assert (found.of(scores), found.max_false_rejects) == (expected, rate)
        assert found.n_needed <= n


def test_new_good_parts_are_rejected_no_more_often_than_promised():
    rng = np.random.default_rng(0)
    promised = threshold_rules.promise(60, 0.05, None)
    rates = [
        (rng.gamma(2.0, size=500) > promised.of(rng.gamma(2.0, size=60))).mean() for _ in range(400)
    ]
    # 58 of 61: the exact expectation is 3/61 = 0.0492; the tolerance is four standard errors.
    assert np.mean(rates) == pytest.approx(3 / 61, abs=4 * np.std(rates) / 20)


@pytest.mark.parametrize(
    ("count", "left_out", "method"),
    [
        (18, False, "prediction_bound"),
        (19, False, "conformal"),
        (18, True, "prediction_bound"),
        (19, True, "leave_one_out"),
    ],
)
def test_a_first_threshold_promises_from_19_parts_on(count, left_out, method):
    scores = np.linspace(1.0, 2.0, count)
    maps = [np.full((4, 4), score, np.float32) for score in scores]
    peaks = peaks_of(maps, (8, 8), 0.0)
    found = first_threshold(scores, peaks, left_out=left_out)
    assert (found.method, found.n_good) == (method, count)
    assert (found.max_false_rejects is None) == (method == "prediction_bound")
    assert found.pixel_threshold == pytest.approx(found.image_threshold, rel=1e-6)
    assert ("a promise of 5% false rejects needs 19" in found.note) == (count < 19)
    assert ("each scored by a model that had not seen it" in found.note) == left_out


def test_with_left_out_scores_nothing_is_promised_with_confidence():
    scores = np.arange(300.0)
    found = threshold_rules.promise(300, 0.05, 0.95).threshold(scores, scores, n_left_out=260)
    assert (found.method, found.confidence) == ("leave_one_out", None)
    assert found.note == (
        "about 5% of good parts rejected (with the margin of 0.95 confidence), from 300 good "
        "parts: 260 learned ones, each scored by a model that had not seen it, and 40 new ones"
    )
