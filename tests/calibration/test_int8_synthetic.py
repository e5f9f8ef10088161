"""Synthetic defects that judge INT8 where there are no bad parts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.int8.synthetic import SIDE, synthetic_defects


def parts(seed, height, width, count):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(count)]


@given(
    seed=st.integers(0, 2**16),
    height=st.integers(3, 80),
    width=st.integers(3, 80),
    count=st.integers(1, 3),
)
def test_each_is_a_good_part_but_for_one_small_window(seed, height, width, count):
    good = parts(seed, height, width, count)
    for index, bad in enumerate(synthetic_defects(good, 6, seed)):
        assert (bad.shape, bad.dtype) == ((height, width, 3), np.uint8)
        rows, columns = (bad != good[index % count]).any(axis=2).nonzero()
        for found, side in ((rows, height), (columns, width)):
            assert found.size == 0 or np.ptp(found) < max(3, round(SIDE[1] * side))


def test_nearly_all_of_them_differ_from_the_part():
    good = parts(0, 64, 64, 4)
    changed = [
        (bad != good[index % 4]).any() for index, bad in enumerate(synthetic_defects(good, 100))
    ]
    assert np.mean(changed) > 0.95


@pytest.mark.parametrize("seed", [0, 7])
def test_the_same_seed_makes_the_same_ones(seed):
    good = parts(1, 40, 50, 3)
    pairs = zip(synthetic_defects(good, 12, seed), synthetic_defects(good, 12, seed), strict=True)
    assert all(np.array_equal(one, other) for one, other in pairs)
    first, second = itertools.islice(synthetic_defects(good, 12, seed), 2)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, next(synthetic_defects(good, 12, seed + 1)))


def test_the_parts_stay_as_they_are():
    good = parts(2, 30, 30, 2)
    before = [part.copy() for part in good]
    list(synthetic_defects(good, 10))
    assert all(np.array_equal(one, other) for one, other in zip(good, before, strict=True))
