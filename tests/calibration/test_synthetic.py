"""Synthetic defects that judge where there are no bad parts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.synthetic import KINDS, paint, synthetic_defects


def parts(seed, height, width, count):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(count)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**16), height=st.integers(3, 80), width=st.integers(3, 80))
def test_a_defect_is_one_small_window_and_the_mask_says_where(kind, seed, height, width):
    (part,), (texture,) = parts(seed, height, width, 1), parts(seed + 1, 40, 60, 1)
    before = part.copy()
    for other in (None, texture):
        bad, mask = paint(part, kind, np.random.default_rng(seed), other)
        assert (bad.shape, bad.dtype) == (part.shape, np.uint8)
        assert (mask.shape, mask.dtype) == ((height, width), np.bool_)
        assert mask.any()
        assert not (bad != part).any(axis=2)[~mask].any()
        for found, side in zip(mask.nonzero(), (height, width), strict=True):
            assert np.ptp(found) < max(3, round(kind.side[1] * side))
    assert np.array_equal(part, before)


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


@pytest.mark.parametrize("count", [1, 5, 10])
def test_every_part_meets_every_kind(count, monkeypatch):
    met = set()

    def remember(part, kind, rng, texture):
        met.add((int(part[0, 0, 0]), kind.name))
        return part, None

    monkeypatch.setattr("calibration.synthetic.paint", remember)
    good = [np.full((4, 4, 3), index, np.uint8) for index in range(count)]
    list(synthetic_defects(good, count * len(KINDS)))
    assert len(met) == count * len(KINDS)
