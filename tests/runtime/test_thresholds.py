"""thresholds.json and the rule that sets its first numbers."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.bundle.thresholds import Threshold, Thresholds, read_thresholds, write_thresholds
from runtime.errors import ThresholdError

KEY = "openvino/fp32"
FINITE = st.floats(-1e9, 1e9)
THRESHOLD = Threshold(
    2.5, 1.75, 1.0, "conformal", 80, 0.01, 0.9, "from 80 good parts", "2026-01-02T03:04:05+00:00"
)


def raw_file(**changes: Any) -> dict[str, Any]:
    fields = {
        "image_threshold": 2.5,
        "pixel_threshold": 1.75,
        "median_good_score": 1.0,
        "method": "manual",
        "n_good": 0,
    }
    return {"schema_version": 1, "variants": {KEY: {**fields, **changes}}, "history": []}


def test_a_round_trip_keeps_every_field(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.json"
    written = Thresholds(
        {KEY: THRESHOLD, "onnxruntime/fp32": Threshold(1.0, 2.0, 0.5, "manual", 0)}
    )
    write_thresholds(path, written)
    assert read_thresholds(path) == written
    assert list(tmp_path.iterdir()) == [path], "no temporary file stays"


def test_the_old_threshold_goes_to_the_history(tmp_path: Path) -> None:
    first = Thresholds({}).with_threshold(KEY, THRESHOLD)
    assert first.history == ()
    second = first.with_threshold(KEY, Threshold(3.0, 1.75, 1.0, "manual", 0))
    third = second.with_threshold("onnxruntime/fp32", THRESHOLD)
    assert third.of(KEY).image_threshold == 3.0
    assert [(old["variant"], old["image_threshold"], old["method"]) for old in third.history] == [
        (KEY, 2.5, "conformal")
    ]
    write_thresholds(tmp_path / "t.json", third)
    assert read_thresholds(tmp_path / "t.json") == third


def test_a_new_threshold_is_stamped_in_utc_and_a_stamped_one_is_kept() -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    stamped = Thresholds({}).with_threshold(KEY, Threshold(3.0, 1.75, 1.0, "manual", 0)).of(KEY)
    assert before <= datetime.fromisoformat(stamped.set_at) <= datetime.now(UTC)
    assert Thresholds({}).with_threshold(KEY, THRESHOLD).of(KEY).set_at == THRESHOLD.set_at


def test_a_variant_without_a_threshold_lists_those_there_are() -> None:
    with pytest.raises(
        ThresholdError, match=f"threshold for openvino/int8, found {KEY}.*lineside calibrate"
    ):
        Thresholds({KEY: THRESHOLD}).of("openvino/int8")
    with pytest.raises(ThresholdError, match="found none"):
        Thresholds({}).of(KEY)


@pytest.mark.parametrize("name", ["image_threshold", "pixel_threshold", "median_good_score"])
@pytest.mark.parametrize(
    "text", ["NaN", "Infinity", "-Infinity", '"2.5"', "null", "true", "1e999", "1" + "0" * 400]
)
def test_a_number_that_is_none_is_refused(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / "thresholds.json"
    path.write_text(
        json.dumps(raw_file(**{name: "HERE"})).replace('"HERE"', text), encoding="utf-8"
    )
    with pytest.raises(ThresholdError) as caught:
        read_thresholds(path)
    assert name in str(caught.value) or "thresholds.json" in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"schema_version": 1}',
        b'{"schema_version": 1, "variants": []}',
        b'{"schema_version": 1, "variants": {"a/b": {}}}',
        b'{"schema_version": 1, "variants": {"a/b": 3}}',
        b'{"schema_version": 1, "variants": {}, "history": [3]}',
        b'{"schema_version": 1, "variants": {}, "history": 3}',
        b"[" * 100_000,
        b"1" * 5000,
    ],
)
def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "thresholds.json"
    path.write_bytes(data)
    with pytest.raises(ThresholdError, match=r"thresholds\.json: .*calibrate") as caught:
        read_thresholds(path)
    assert "\n" not in str(caught.value)


def test_a_newer_file_says_how_to_upgrade(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.json"
    path.write_text('{"schema_version": 2, "variants": {}}', encoding="utf-8")
    with pytest.raises(ThresholdError, match=r"expected schema version 1, found 2; .*upgrade"):
        read_thresholds(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ThresholdError, match=r"thresholds\.json"):
        read_thresholds(tmp_path / "thresholds.json")


def test_an_unknown_field_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.json"
    path.write_text(json.dumps(raw_file(image_treshold=3.0)), encoding="utf-8")
    with pytest.raises(ThresholdError, match="image_treshold"):
        read_thresholds(path)


def test_whatever_can_be_read_can_be_written_again(tmp_path: Path) -> None:
    # A NaN that came with the history must not stop an operator from setting a threshold today.
    path = tmp_path / "thresholds.json"
    raw = raw_file()
    raw["history"] = [{"variant": KEY, "image_threshold": float("nan")}]
    path.write_text(json.dumps(raw), encoding="utf-8")
    try:
        found = read_thresholds(path)
    except ThresholdError:
        return
    write_thresholds(path, found.with_threshold(KEY, THRESHOLD))
    assert read_thresholds(path).of(KEY) == THRESHOLD


def test_the_normalized_score_has_its_three_anchors() -> None:
    assert THRESHOLD.normalized_score(1.0) == 0.0
    assert THRESHOLD.normalized_score(2.5) == 0.5
    assert THRESHOLD.normalized_score(4.0) == 1.0
    assert THRESHOLD.normalized_score(1.75) == pytest.approx(0.25)


@settings(max_examples=500, deadline=None)
@given(FINITE, FINITE, FINITE, FINITE)
def test_the_normalized_score_is_monotone_and_agrees_with_the_verdict(
    image_threshold: float, median: float, first: float, second: float
) -> None:
    threshold = Threshold(image_threshold, image_threshold, median, "manual", 0)
    low, high = sorted((first, second))
    scores = threshold.normalized_score(low), threshold.normalized_score(high)
    assert 0.0 <= scores[0] <= scores[1] <= 1.0
    for raw, normalized in zip((low, high), scores, strict=True):
        assert normalized >= 0.5 if raw > image_threshold else normalized <= 0.5
