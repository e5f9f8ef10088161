"""The limits: their promise by simulation, and what they are made from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calibration import health as build
from calibration.health import MOST_VALUES, BaselineBuilder, find_limits, score_limit
from runtime.health.baseline import Health, Limit, PictureSize, keep_settings
from runtime.health.statistics import STATISTICS, measure
from tests.runtime.tiny import random_image

JUDGED = [name for name, one in STATISTICS.items() if one.judged_below or one.judged_above]


def draw(rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    """Parts whose statistics hang together and have heavy tails."""
    common = rng.standard_t(3, count)
    return {name: 5 + rng.standard_t(3, count) + common for name in JUDGED}


def is_refused(limits: dict[str, Limit], values: dict[str, np.ndarray]) -> np.ndarray:
    return np.any(
        [[not limits[name].holds(value) for value in values[name]] for name in limits], axis=0
    )


@pytest.mark.parametrize("n_good", [20, 60])
def test_without_its_margins_the_limits_refuse_as_often_as_promised(
    n_good: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Factor 1 and no room: what is left is the bare conformal promise, 1 / (m + 1) over many
    draws."""
    monkeypatch.setattr(build, "FACTOR", 1.0)
    monkeypatch.setattr(
        build,
        "STATISTICS",
        {name: replace(STATISTICS[name], room=1e-9, extreme=np.inf) for name in JUDGED},
    )
    rng = np.random.default_rng(n_good)
    rates = []
    for _ in range(300):
        limits, promised = find_limits(draw(rng, n_good), rng.permutation(n_good))
        rates.append(is_refused(limits, draw(rng, 50)).mean())
    assert promised == pytest.approx(1 / (n_good // 2 + 1))
    assert np.mean(rates) <= promised + 3 * np.std(rates) / np.sqrt(len(rates))
    assert np.mean(rates) > 0


def test_with_its_margins_they_refuse_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heavy tails and a picture without a brightest white: a factor of 2 then saves some three
    quarters."""
    monkeypatch.setattr(
        build, "STATISTICS", {name: replace(STATISTICS[name], extreme=np.inf) for name in JUDGED}
    )
    rng = np.random.default_rng(0)
    rates = []
    for _ in range(40):
        limits, promised = find_limits(draw(rng, 200), rng.permutation(200))
        rates.append(is_refused(limits, draw(rng, 500)).mean())
    assert np.mean(rates) < promised / 2


def test_a_limit_is_never_closer_than_its_room() -> None:
    values = {name: np.full(40, 2.0) for name in JUDGED}
    limits, _ = find_limits(values, np.arange(40))
    for name, limit in limits.items():
        one = STATISTICS[name]
        assert limit.low == (pytest.approx(2 - one.room) if one.judged_below else None)
        assert limit.high == (
            pytest.approx(2 + min(one.room, (one.extreme - 2) / 2)) if one.judged_above else None
        )


def built(
    count: int, hw: tuple[int, int] = (64, 64), scores: tuple[float, ...] = (1.0, 2.0)
) -> Health | None:
    builder = BaselineBuilder()
    for seed in range(count):
        builder.add(random_image(seed, 20), hw)
    return builder.baseline({"openvino/fp32": scores})


def test_fewer_than_ten_pictures_make_no_baseline() -> None:
    assert built(9) is None
    assert built(10) is not None


def test_a_baseline_holds_the_statistics_of_its_pictures() -> None:
    health = built(30)
    assert health is not None
    expected = sorted(measure(random_image(seed, 20))["brightness"] for seed in range(30))
    assert sorted(health.values["brightness"]) == pytest.approx(expected)
    assert health.n_good == 30
    assert health.refused_rate == pytest.approx(1 / 16)
    assert set(health.values) == set(STATISTICS)
    assert "centre_x" not in health.limits, "a part out of place is drift, not a bad picture"


def test_no_more_values_are_kept_than_the_drift_test_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "MOST_VALUES", 12)
    health = built(30)
    assert health is not None
    assert {len(column) for column in health.values.values()} == {12}
    assert health.n_good == 30
    assert MOST_VALUES == 500


@pytest.mark.parametrize(
    ("hw", "problem"),
    [
        ((64, 64), ""),
        ((128, 128), ""),
        ((20, 20), "too small"),
        ((64, 96), "wrong shape"),
        ((96, 64), "wrong shape"),
    ],
)
def test_pictures_of_another_size(hw: tuple[int, int], problem: str) -> None:
    health = built(12)
    assert health is not None
    found = health.reason({}, hw, (32, 32), "openvino/fp32", 1.0)
    assert problem in found
    assert bool(found) == bool(problem)
    assert health.reason({}, (32, 32), (32, 32), "openvino/fp32", 1.0) == "", (
        "resized before: its own size is not known"
    )


def test_cut_outs_of_many_shapes_make_wide_limits() -> None:
    builder = BaselineBuilder()
    for seed in range(20):
        builder.add(random_image(seed, 20), (100, 50 + 10 * seed))
    health = builder.baseline({})
    assert health is not None
    assert isinstance(health.size, PictureSize)
    assert health.reason({}, (100, 260), (32, 32), "", 0.0) == ""
    assert "wrong shape" in health.reason({}, (100, 800), (32, 32), "", 0.0)


def test_a_score_is_believed_far_beyond_any_defect() -> None:
    scores = np.array([10.0, 11.0, 12.0, 20.0])
    limit = score_limit(scores)
    assert limit == pytest.approx(11.5 + 10_000 * 8.5)
    health = built(12, scores=(10.0, 11.0, 12.0, 20.0))
    assert health is not None
    assert health.reason({}, (64, 64), (32, 32), "openvino/fp32", 400.0) == ""
    assert "far beyond" in health.reason({}, (64, 64), (32, 32), "openvino/fp32", 1e5)
    assert health.reason({}, (64, 64), (32, 32), "another/variant", 1e5) == ""


def test_a_new_baseline_keeps_switches_and_other_variants() -> None:
    old, new = built(12), built(14)
    assert old is not None
    assert new is not None
    old = replace(
        old, judge=False, tolerated_share=0.2, scores={"onnxruntime/fp32": np.array([3.0])}
    )
    found = keep_settings(new, old)
    assert (found.judge, found.tolerated_share, found.n_good) == (False, 0.2, 14)
    assert set(found.scores) == {"openvino/fp32", "onnxruntime/fp32"}
    assert keep_settings(new, None) is new
