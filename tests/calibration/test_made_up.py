"""What to expect of a model: made-up defects of three strengths, their rates and their picture."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.learning import made_up
from calibration.learning.made_up import (
    draw_made_up,
    found_rates,
    score_made_up_on,
    share_of_part,
    tell_what_to_expect,
)
from calibration.synthetic import STRENGTHS, graded_defect
from runtime.types import UInt8Image


@pytest.fixture(autouse=True)
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made_up, "MADE_UP", 45)


def part(seed: int = 0) -> UInt8Image:
    noise = np.random.default_rng(seed).normal(120, 20, (96, 96, 3))
    return np.clip(noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("index", range(6))
def test_a_defect_is_as_strong_as_it_says_and_lies_in_one_place(index: int) -> None:
    clean = part()
    graded, mask, _ = graded_defect(clean, index, 0)
    assert list(graded) == list(STRENGTHS)
    for name, picture in graded.items():
        difference = np.abs(picture.astype(float) - clean)
        assert (difference[~mask] == 0).all()
        # Clipping at black and white takes a little of a strong one.
        assert difference[mask].mean() == pytest.approx(STRENGTHS[name], rel=0.2)
    again, _, _ = graded_defect(clean, index, 0)
    assert all(np.array_equal(again[name], graded[name]) for name in graded)
    other, _, _ = graded_defect(clean, index, 1)
    assert not np.array_equal(other["strong"], graded["strong"])


@pytest.mark.parametrize("parts", [1, 7, 45, 320])
def test_defects_are_shared_out_evenly_and_none_is_painted_twice(parts: int) -> None:
    shares = [share_of_part(place, parts) for place in range(parts)]
    assert [one for share in shares for one in share] == list(range(45))
    lengths = [len(share) for share in shares]
    assert max(lengths) - min(lengths) <= 1


def test_rates_count_the_scores_above_the_threshold() -> None:
    scores = np.array([[1.0, 2.0, 3.0], [1.0, 3.0, 4.0], [2.0, 2.0, 9.0], [5.0, 6.0, 7.0]])
    assert found_rates(scores, 2.0) == {"weak": 0.25, "medium": 0.5, "strong": 1.0}
    assert found_rates(np.empty((0, 3)), 2.0) == {}


def test_a_score_that_sees_brightness_alone_is_told_so() -> None:
    def darkest(image: UInt8Image) -> float:
        return float(np.abs(image.astype(float) - 120).mean())

    scores = score_made_up_on(darkest, [part(seed) for seed in range(4)], 0)
    assert scores.shape == (45, 3)
    assert (np.diff(np.median(scores, axis=0)) > 0).all()


@pytest.mark.parametrize(("medium", "warned"), [(0.4, True), (0.5, False), (1.0, False)])
def test_a_model_that_finds_little_says_so_loudly(
    medium: float, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "lineside")
    tell_what_to_expect({"weak": 0.1, "medium": medium, "strong": 1.0}, 0.05, 100)
    assert "of 100 good parts about 5 will be stopped" in caplog.text
    assert f"it finds 10 weak, {100 * medium:.0f} medium, 100 strong ones" in caplog.text
    assert ("WARNING: this model finds fewer than half" in caplog.text) == warned


def test_without_a_defect_nothing_is_said_of_them(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "lineside")
    tell_what_to_expect({}, 0.05, 100)
    assert "defects" not in caplog.text


@pytest.mark.parametrize(("parts", "said"), [(1, "1 good part says"), (18, "18 good parts say")])
def test_few_parts_say_nothing_of_how_many_are_stopped(
    parts: int, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "lineside")
    tell_what_to_expect({}, 0.05, parts)
    assert f"{said} nothing certain about how many others will be stopped (19 would)" in caplog.text
    assert "will be stopped;" not in caplog.text


def test_the_sheet_shows_three_kinds_at_three_strengths() -> None:
    clean = part()
    sheet = draw_made_up(clean, {"weak": 0.1, "medium": 0.5, "strong": 1.0}, 0)
    assert sheet.dtype == np.uint8
    assert sheet.shape[1] > sheet.shape[0] * 0.8
    assert not np.array_equal(sheet, draw_made_up(clean, {}, 0))


def test_a_slow_model_judges_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made_up, "_PATIENCE_S", -1.0)
    assert len(score_made_up_on(lambda _: 0.0, [part()], 0)) == 0
