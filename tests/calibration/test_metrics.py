"""Image-level metrics against scikit-learn, brute force, and what must hold for any scores."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, roc_auc_score

from calibration import metrics
from calibration.metrics import auroc_interval

scores_and_labels = st.lists(
    st.tuples(st.booleans(), st.integers(-20, 20)), min_size=2, max_size=60
).map(lambda pairs: (np.array([a for a, _ in pairs]), np.array([b / 4 for _, b in pairs])))


def brute_auroc(labels, scores):
    good, bad = scores[~labels], scores[labels]
    wins = (bad[:, None] > good).sum() + 0.5 * (bad[:, None] == good).sum()
    return wins / (good.size * bad.size)


@given(scores_and_labels)
def test_auroc_is_the_share_of_pairs_in_order(case):
    labels, scores = case
    found = metrics.image_auroc(labels, scores)
    if labels.all() or not labels.any():
        assert math.isnan(found)
    else:
        assert found == pytest.approx(brute_auroc(labels, scores), abs=1e-12)


@settings(max_examples=30)
@given(scores_and_labels)
def test_metrics_depend_on_the_order_of_the_scores_alone(case):
    labels, scores = case
    stretched = np.exp(scores / 3) * 7 - 100
    if labels.any() and not labels.all():
        assert metrics.image_auroc(labels, stretched) == pytest.approx(
            metrics.image_auroc(labels, scores)
        )
    if labels.any():
        assert metrics.f1_max(labels, stretched).f1 == pytest.approx(
            metrics.f1_max(labels, scores).f1
        )


@settings(max_examples=30)
@given(scores_and_labels)
def test_f1_max_is_the_best_of_all_thresholds_and_its_threshold_reaches_it(case):
    labels, scores = case
    best = metrics.f1_max(labels, scores)
    if not labels.any():
        assert math.isnan(best.f1)
        assert math.isnan(best.threshold)
        return
    candidates = [*np.unique(scores), scores.min() - 1]
    brute = max(f1_score(labels, scores > t, zero_division=0.0) for t in candidates)
    assert best.f1 == pytest.approx(brute, abs=1e-12)
    assert f1_score(labels, scores > best.threshold, zero_division=0.0) == pytest.approx(
        brute, abs=1e-12
    )


def test_f1_threshold_between_neighboring_floats_still_separates():
    low = 1.0
    high = math.nextafter(low, 2.0)
    best = metrics.f1_max([False, True], [low, high])
    assert low <= best.threshold < high


@given(scores_and_labels, st.floats(-6, 6))
def test_confusion_counts_every_part_once(case, threshold):
    labels, scores = case
    found = metrics.confusion_at(labels, scores, threshold)
    assert found.accepted_good + found.false_rejects == (~labels).sum()
    assert found.misses + found.hits == labels.sum()
    assert found.hits == sum(
        1 for label, score in zip(labels, scores, strict=True) if label and score > threshold
    )


def test_a_score_at_the_threshold_is_good():
    found = metrics.confusion_at([False, True], [1.0, 1.0], 1.0)
    assert (found.accepted_good, found.misses) == (1, 1)


def test_curves_enclose_the_areas_that_scikit_learn_finds():
    rng = np.random.default_rng(3)
    labels = rng.random(200) < 0.4
    scores = rng.normal(size=200) + labels
    fpr, tpr = metrics.roc_points(labels, scores)
    assert np.trapezoid(tpr, fpr) == pytest.approx(roc_auc_score(labels, scores))
    recall, precision = metrics.pr_points(labels, scores)
    assert recall[0] == 1.0
    assert recall[-1] == 0.0
    assert precision[0] == pytest.approx(labels.mean(), abs=0.02)


def test_curves_of_one_class_are_empty():
    assert metrics.roc_points([True, True], [1.0, 2.0])[0].size == 0
    assert metrics.pr_points([False, False], [1.0, 2.0])[0].size == 0


def test_bootstrap_agrees_with_resampling_by_hand():
    rng = np.random.default_rng(0)
    good, bad = np.round(rng.normal(0, 1, 60), 1), np.round(rng.normal(1, 1, 40), 1)
    labels = np.repeat([False, True], [60, 40])
    by_hand = []
    for _ in range(1500):
        again = np.concatenate([rng.choice(good, 60), rng.choice(bad, 40)])
        by_hand.append(brute_auroc(labels, again))
    low, high = np.quantile(by_hand, [0.025, 0.975])
    found = auroc_interval(labels, np.concatenate([good, bad]))
    assert found.low == pytest.approx(low, abs=0.015)
    assert found.high == pytest.approx(high, abs=0.015)


@pytest.mark.slow
def test_bootstrap_interval_covers_the_truth_as_often_as_it_says():
    """Normal classes one deviation apart: the true AUROC is Phi(1 / sqrt(2)) = 0.7602."""
    rng = np.random.default_rng(7)
    truth = 0.5 * (1 + math.erf(0.5))
    labels = np.repeat([False, True], [60, 60])
    hits = 0
    for draw in range(300):
        scores = rng.normal(size=120) + labels
        interval = auroc_interval(labels, scores, draws=400, seed=draw)
        hits += interval.low <= truth <= interval.high
    # 300 draws: three standard errors below 0.95 are 0.912, and the percentile bootstrap is a
    # little short itself.
    assert 0.90 <= hits / 300 <= 0.99


def test_perfect_separation_of_few_parts_is_no_certainty():
    few = auroc_interval([False] * 6 + [True] * 18, [0.0] * 6 + [1.0] * 18)
    many = auroc_interval([False] * 600 + [True] * 600, [0.0] * 600 + [1.0] * 600)
    assert few.low < 0.9 < many.low < many.high == few.high == 1.0


@pytest.mark.parametrize(("n_good", "n_bad"), [(6, 18), (20, 20), (50, 5)])
def test_newcombe_solves_its_equation(n_good, n_bad):
    """At the lower end it is off by 1.96 Hanley-McNeil standard errors there, written out anew."""
    low = auroc_interval([False] * n_good + [True] * n_bad, [0.0] * n_good + [1.0] * n_bad).low
    half = (n_good + n_bad) / 2 - 1
    variance = (
        low
        * (1 - low)
        * (1 + half * (1 - low) / (2 - low) + half * low / (1 + low))
        / (n_good * n_bad)
    )
    assert 1 - low == pytest.approx(1.959964 * math.sqrt(variance), rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(scores_and_labels)
def test_interval_is_ordered_and_inside_the_unit_interval(case):
    labels, scores = case
    found = auroc_interval(labels, scores, draws=100)
    if labels.all() or not labels.any():
        assert math.isnan(found.low)
        assert math.isnan(found.high)
    else:
        assert 0.0 <= found.low <= found.high <= 1.0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_scores_that_are_not_finite_are_refused(bad):
    with pytest.raises(ValueError, match="finite"):
        metrics.image_auroc([True, False], [bad, 1.0])


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="expected 2"):
        metrics.image_auroc([True, False], [1.0])
