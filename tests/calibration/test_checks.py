"""Suspects among the good parts, and folders that are not what they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.checks import look_like_another_part, look_trained_on, suspects
from runtime.bundle.thresholds import Threshold

RECORDED = Threshold(20.0, 20.0, 10.0, "conformal", 100)


@pytest.mark.parametrize("bad_share", [0.01, 0.05, 0.2])
def test_bad_parts_mixed_in_are_named(bad_share):
    rng = np.random.default_rng(1)
    count = round(200 * bad_share)
    scores = np.concatenate([rng.normal(10, 1, 200 - count), rng.normal(30, 2, count)])
    assert set(suspects(scores)) == set(range(200 - count, 200))


def test_worst_suspect_comes_first():
    assert suspects([1.0, 1.1, 0.9, 1.05, 0.95, 1.02, 30.0, 90.0, 0.98, 1.04])[:2] == [7, 6]


def test_good_parts_are_rarely_suspected():
    """Also with a long right tail: gamma scores, 100 folders of 200 parts."""
    rng = np.random.default_rng(2)
    named = sum(len(suspects(rng.gamma(4.0, 1.0, 200))) for _ in range(100))
    assert named / 20_000 < 0.005


@given(st.lists(st.floats(-1e6, 1e6), max_size=40))
def test_suspects_are_always_above_the_median(scores):
    for index in suspects(scores):
        assert scores[index] > np.median(scores)


@pytest.mark.parametrize("scores", [[], [1.0, 50.0], [1.0] * 20])
def test_too_few_or_equal_scores_accuse_nobody(scores):
    assert suspects(scores) == []


def test_another_part_and_learned_pictures_are_recognized():
    assert look_like_another_part([25.0, 30.0, 8.0], RECORDED)
    assert not look_like_another_part([12.0, 30.0, 8.0], RECORDED)
    assert look_trained_on([3.0, 4.0, 12.0], RECORDED)
    assert not look_trained_on([8.0, 9.0, 12.0], RECORDED)
    below_its_median = Threshold(5.0, 5.0, 10.0, "manual", 0)
    assert not look_trained_on([1.0], below_its_median)
