"""The sequential test: its parts against their definitions, its promises by simulation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from runtime.health.baseline import Health
from runtime.health.drift import RAW_SCORE, RECOVERY_PARTS, Alarm, DriftMonitor
from runtime.health.martingale import SHARES, STAKE, Ranks, ShiryaevRoberts, bets

KEY = "openvino/fp32"
Draw = np.random.Generator


def health(rng: Draw, n_good: int = 60, **settings_: object) -> Health:
    values = {"brightness": rng.normal(7, 0.2, n_good), "focus": rng.normal(-3, 0.4, n_good)}
    scores = {KEY: rng.gamma(9, 2, n_good)}
    return replace(Health({}, None, {}, values, scores, n_good), **settings_)


def part(rng: Draw, brightness: float = 0.0, score: float = 0.0) -> tuple[dict[str, float], float]:
    return {"brightness": rng.normal(7 + brightness, 0.2), "focus": rng.normal(-3, 0.4)}, rng.gamma(
        9, 2
    ) + score


@settings(max_examples=15, deadline=None)
@given(values=st.lists(st.integers(-3, 3), min_size=1, max_size=20), tie=st.floats(0, 1))
def test_a_rank_is_the_share_of_lower_values_and_of_ties(values: list[int], tie: float) -> None:
    ranks = Ranks()
    for count, value in enumerate(values, 1):
        seen = np.array(values[:count])
        expected = ((seen < value).sum() + tie * (seen == value).sum()) / count
        assert ranks.rank(value, tie, keep=False) == pytest.approx(expected)
        assert ranks.rank(value, tie) == pytest.approx(expected)
    assert len(ranks) == len(values)
    assert sum(count for _, count in ranks.counts()) == len(values)


@pytest.mark.parametrize("calibrated", [0, 5, 200])
@pytest.mark.parametrize("digits", [0, 3])
def test_ranks_of_exchangeable_parts_are_uniform_and_independent(
    calibrated: int, digits: int
) -> None:
    """With few calibrated parts and with many ties too: this is what every promise rests on."""
    rng = np.random.default_rng(11)
    firsts, pairs = [], []
    for _ in range(400):
        ranks = Ranks((round(float(value), digits), 1) for value in rng.normal(size=0))
        for value in rng.normal(size=calibrated):
            ranks.rank(round(float(value), digits), 0.5)
        found = [
            ranks.rank(round(float(value), digits), float(rng.random()))
            for value in rng.normal(size=6)
        ]
        firsts += found
        pairs.append(found[-2:])
    assert stats.kstest(firsts, "uniform").pvalue > 1e-3
    assert abs(stats.spearmanr(np.array(pairs)).statistic) < 0.15


@pytest.mark.parametrize("tolerated", [0.0, 0.05, 0.3])
def test_no_bet_wins_on_average_whatever_the_tolerated_parts_look_like(tolerated: float) -> None:
    grid = (np.arange(100_000) + 0.5) / 100_000
    fair = bets(grid, tolerated).mean(axis=0)
    worst = bets(np.array([0.0, 1.0]), tolerated).max(axis=0)
    assert ((1 - tolerated) * fair + tolerated * worst <= 1 + 1e-4).all()
    if tolerated == 0:
        np.testing.assert_allclose(fair, 1.0, atol=1e-4)


def test_bets_are_on_the_tails_and_none_is_placed_without_a_number() -> None:
    found = bets(np.array([0.03, 0.97, np.nan]), 0.0)
    won = 1 - STAKE + STAKE / np.array(SHARES)
    np.testing.assert_allclose(found[0], [won, [1 - STAKE] * 3])
    np.testing.assert_allclose(found[1], [[1 - STAKE] * 3, won])
    np.testing.assert_allclose(found[2], 1.0)


def test_the_sum_is_over_all_starts_and_the_start_is_where_the_product_is_largest() -> None:
    rng = np.random.default_rng(2)
    worth = np.exp(rng.normal(-0.05, 0.4, (40, 1, 2, 3)))
    test = ShiryaevRoberts(1)
    for count in range(1, 41):
        mean = test.update(worth[count - 1])
        products = np.array([worth[start:count].prod(axis=0) for start in range(count)])
        np.testing.assert_allclose(test.sums, products.sum(axis=0))
        assert mean == pytest.approx(products.sum(axis=0).mean())
        np.testing.assert_array_equal(test.starts, products.argmax(axis=0) + 1)


def test_the_promised_rate_of_false_alarms_is_kept_by_exact_bets() -> None:
    """With uniform ranks and nothing tolerated: at most n / c of the streams alarm within n parts,
    and not none."""
    rng = np.random.default_rng(5)
    limit, parts, streams = 200.0, 60, 200
    alarms = 0
    for _ in range(streams):
        test = ShiryaevRoberts(2)
        alarms += any(test.update(bets(rng.random(2), 0.0)) >= limit for _ in range(parts))
    promised = parts / limit
    assert 0 < alarms / streams < promised + 3 * np.sqrt(promised / streams)


@pytest.mark.slow
@pytest.mark.parametrize("n_good", [10, 60])
def test_the_promised_rate_of_false_alarms_is_kept_by_the_monitor(n_good: int) -> None:
    rng = np.random.default_rng(n_good)
    limit, parts, streams = 1000, 150, 60
    alarms = 0
    for stream in range(streams):
        monitor = DriftMonitor(
            health(rng, n_good, parts_between_false_alarms=limit), KEY, seed=stream
        )
        alarms += any(monitor.update(*part(rng)) for _ in range(parts))
    # Binomial with the promised rate: more than this has a chance below 1e-3.
    assert alarms <= stats.binom.ppf(0.999, streams, parts / limit)


def test_bad_parts_up_to_the_tolerated_share_are_no_drift() -> None:
    rng = np.random.default_rng(8)
    alarms = 0
    for stream in range(20):
        monitor = DriftMonitor(health(rng), KEY, seed=stream)
        alarms += any(
            monitor.update(*part(rng, score=80 * (rng.random() < 0.05))) for _ in range(300)
        )
    assert alarms == 0


@pytest.mark.parametrize(
    ("change", "statistic", "side"),
    [
        ({"brightness": 0.7}, "brightness", "high"),
        ({"brightness": -0.7}, "brightness", "low"),
        ({"score": 25}, RAW_SCORE, "high"),
    ],
)
def test_a_change_is_noticed_named_and_dated(
    change: dict[str, float], statistic: str, side: str
) -> None:
    rng = np.random.default_rng(1)
    for stream in range(5):
        monitor = DriftMonitor(health(rng), KEY, seed=stream)
        assert not any(monitor.update(*part(rng)) for _ in range(100))
        noticed = next(count for count in range(1, 60) if monitor.update(*part(rng, **change)))
        assert noticed <= 30
        alarm = monitor.alarm
        assert alarm is not None
        assert (alarm.statistic, alarm.side) == (statistic, side)
        assert alarm.noticed_part == 100 + noticed
        assert abs(alarm.since_part - 101) <= 10
        assert f"since about part {alarm.since_part}" in alarm.sentence()
        assert alarm.to_json()["statistic"] == statistic


def test_an_alarm_stays_while_the_change_lasts_and_ends_after_it() -> None:
    rng = np.random.default_rng(4)
    monitor = DriftMonitor(health(rng), KEY, seed=0)
    for _ in range(60):
        monitor.update(*part(rng))
    # Far more changed parts than there were good ones: they never become the new normal.
    for _ in range(500):
        monitor.update(*part(rng, brightness=0.8))
    assert monitor.alarm is not None
    back = [monitor.update(*part(rng)) for _ in range(3 * RECOVERY_PARTS)]
    assert back[0] is not None
    assert back[-1] is None
    assert monitor.parts == 60 + 500 + 3 * RECOVERY_PARTS
    # And the test goes on.
    assert any(monitor.update(*part(rng, brightness=-0.8)) for _ in range(60))


def test_a_slow_change_is_noticed_although_every_part_joins_the_good_ones() -> None:
    rng = np.random.default_rng(9)
    monitor = DriftMonitor(health(rng), KEY, seed=0)
    alarms = [monitor.update(*part(rng, brightness=-0.002 * count)) for count in range(500)]
    found = next(alarm for alarm in alarms if alarm is not None)
    assert (found.statistic, found.side) == ("brightness", "low")


def test_without_calibrated_scores_the_first_parts_are_what_later_ones_are_compared_with() -> None:
    rng = np.random.default_rng(6)
    monitor = DriftMonitor(health(rng, scores={}), KEY, seed=0)
    assert not any(monitor.update(*part(rng)) for _ in range(80))
    assert any(monitor.update(*part(rng, score=40)) for _ in range(40))
    assert isinstance(monitor.alarm, Alarm)
    assert monitor.alarm.statistic == RAW_SCORE


def test_a_part_without_statistics_counts_with_its_score_alone() -> None:
    rng = np.random.default_rng(6)
    monitor = DriftMonitor(health(rng), KEY, seed=0)
    assert monitor.update({}, 18.0) is None
    assert monitor.parts == 1
