"""Fewer numbers a patch, and neighbors of prototypes, beside scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from calibration.int8.bank import VARIANCE, nearest_prototypes, reduce_bank


def bank_of(rng: np.random.Generator, rows: int, width: int, decay: float) -> np.ndarray:
    """Centred points whose components' deviations fall by a factor each."""
    turned, _ = np.linalg.qr(rng.normal(size=(width, width)))
    points = (rng.normal(size=(rows, width)) * decay ** np.arange(width)) @ turned
    return (points - points.mean(axis=0)).astype(np.float32)


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**16), rows=st.integers(2, 80), width=st.integers(1, 30), data=st.data()
)
def test_neighbors_are_those_of_scikit_learn(seed, rows, width, data):
    bank = np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)
    count = data.draw(st.integers(1, rows))
    found = nearest_prototypes(bank, count)
    expected, _ = NearestNeighbors(n_neighbors=count).fit(bank.astype(np.float64)).kneighbors(bank)
    distances = np.linalg.norm(bank[:, None].astype(np.float64) - bank[found], axis=2)
    assert found.dtype == np.int32
    np.testing.assert_allclose(distances, expected, atol=2e-3)
    assert all(len(set(row)) == count for row in found.tolist())
    some = np.arange(rows)[::3]
    apart = np.linalg.norm(
        bank[some][:, None].astype(np.float64) - bank[nearest_prototypes(bank, count, some)], axis=2
    )
    np.testing.assert_allclose(apart, expected[some], atol=2e-3)


def test_components_hold_the_share_of_variance_that_scikit_learn_says():
    bank = bank_of(np.random.default_rng(0), 500, 200, 0.97)
    reduction = reduce_bank(bank)
    count = len(reduction.matrix)
    held = np.cumsum(PCA().fit(bank).explained_variance_ratio_)
    assert held[count - 1] >= VARIANCE
    # A group of sixteen is never more than it takes; the remainder has a place in the last one.
    assert (count + 1) % 16 == 0
    assert held[count - 17] < VARIANCE or count < 200 / 6 + 16
    assert (reduction.rows**2).sum() / (bank**2).sum() == pytest.approx(held[count - 1], abs=1e-4)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**16), width=st.integers(1, 90), decay=st.floats(0.5, 1.0))
def test_components_and_remainder_make_up_the_whole(seed, width, decay):
    bank = bank_of(np.random.default_rng(seed), 60, width, decay)
    reduction = reduce_bank(bank)
    np.testing.assert_allclose(
        reduction.matrix @ reduction.matrix.T, np.eye(len(reduction.matrix)), atol=1e-5
    )
    whole = (reduction.rows**2).sum(axis=1) + reduction.remainders**2
    np.testing.assert_allclose(whole, (bank**2).sum(axis=1), rtol=1e-3, atol=1e-5)
    assert 0.0 <= reduction.cosine <= 1.0
    assert reduction.is_whole == (len(reduction.matrix) == width)
    assert reduction.is_whole or len(reduction.matrix) + 1 <= 0.75 * width


def test_the_rotation_gives_every_component_the_same_reach():
    bank = bank_of(np.random.default_rng(1), 2000, 128, 0.95)
    unturned = np.linalg.svd(bank, full_matrices=False)[2] @ bank.T
    reduction = reduce_bank(bank)
    reach = np.abs(reduction.rows).max(axis=0)
    before = np.abs(unturned[: len(reduction.matrix)]).max(axis=1)
    assert before.max() / before.min() > 3.5
    assert reach.max() / reach.min() < 2.5


@pytest.mark.parametrize("width", [1, 100])
def test_a_bank_of_one_patch_many_times_says_nothing_and_breaks_nothing(width):
    bank = np.zeros((300, width), np.float32)
    reduction = reduce_bank(bank)
    assert np.isfinite(reduction.matrix).all()
    assert not reduction.rows.any()
    assert 0.0 <= reduction.cosine <= 1.0
