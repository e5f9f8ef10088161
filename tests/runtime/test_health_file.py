"""health.json and the drift test's state: what is written comes back, and whatever else a file
holds is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.errors import HealthError
from runtime.health.baseline import HEALTH_FILE, Health, read_health, write_health
from runtime.health.drift import DriftMonitor
from runtime.health.state import fingerprint, read_state, state_of
from runtime.health.statistics import STATISTICS, measure
from tests.runtime.tiny import random_image, reference
from tests.runtime.unwell import photograph, tiny_health

KEY = "openvino/fp32"
NONSENSE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.floats(allow_nan=True),
    st.text(max_size=4),
    st.lists(st.integers(0, 2), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


@pytest.fixture(scope="module")
def health() -> Health:
    return tiny_health()


def written(health: Health, folder: Path) -> dict[str, Any]:
    write_health(folder / HEALTH_FILE, health)
    return dict(json.loads((folder / HEALTH_FILE).read_text()))


def test_what_is_written_comes_back(health: Health, tmp_path: Path) -> None:
    health = replace(health, judge=False, tolerated_share=0.125, note="näher", refused_rate=None)
    write_health(tmp_path / HEALTH_FILE, health)
    found = read_health(tmp_path / HEALTH_FILE)
    assert (found.judge, found.tolerated_share, found.note, found.n_good) == (
        False,
        0.125,
        "näher",
        40,
    )
    assert (found.refused_rate, found.set_at) == (None, health.set_at)
    assert found.size is not None
    assert set(found.values) == set(STATISTICS)
    for name, column in health.values.items():
        np.testing.assert_allclose(found.values[name], column, atol=1e-4)
    np.testing.assert_allclose(found.scores[KEY], health.scores[KEY], rtol=1e-5)
    for name, limit in health.limits.items():
        assert found.limits[name].low == pytest.approx(limit.low, abs=1e-4)
        assert found.limits[name].high == pytest.approx(limit.high, abs=1e-4)
    # Reading rounds nothing further: a second time the file is the same.
    before = (tmp_path / HEALTH_FILE).read_bytes()
    write_health(tmp_path / HEALTH_FILE, found)
    assert (tmp_path / HEALTH_FILE).read_bytes() == before


def test_one_field_a_line_for_whoever_edits_it(health: Health, tmp_path: Path) -> None:
    raw = written(health, tmp_path)
    lines = (tmp_path / HEALTH_FILE).read_text().splitlines()
    assert len(lines) == len(raw) + 2
    assert '  "judge": true,' in lines


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("schema_version", 2, "schema version 1, found 2"),
        ("schema_version", True, "schema version 1, found True"),
        ("judge", 1, "judge: expected true or false"),
        ("drift", "off", "drift: expected true or false"),
        ("parts_between_false_alarms", 0, "a whole number >= 100"),
        ("parts_between_false_alarms", 10**40, "a whole number"),
        ("parts_between_false_alarms", 1e6, "a whole number"),
        ("tolerated_share", 0.9, "tolerated_share: expected a number <= 0.5"),
        ("tolerated_share", -0.1, "tolerated_share: expected a number >= 0"),
        ("limits", {"focus": [3, 2]}, "low before high"),
        ("limits", {"focus": [3]}, r"limits.*: expected a list of at least length 2"),
        ("limits", {"focus": ["a", None]}, "limits.*: expected a number or null, found text"),
        ("limits", {"sharpness": [None, None]}, "found 'sharpness'"),
        ("limits", [], "limits: expected an object"),
        ("size", {"aspect": [1, 1]}, "size: expected the field .min_height., found none"),
        ("score_limits", {KEY: True}, "expected a number, found true or false"),
        ("scores", {KEY: []}, "scores.*: expected a list of length >= 1"),
        ("values", {"focus": [1.0, None]}, "values.*: expected a number, found null"),
        ("n_good", -1, "n_good: expected a whole number >= 0"),
        ("note", 3, "note: expected text"),
        # As many doublings as overflow a number, and a score beyond any.
        ("limits", {"brightness": [1500, None]}, "brightness: expected at most 64, found 1500"),
        ("values", {"contrast": [1e4, 3.0]}, "contrast: expected at most 64"),
        ("score_limits", {KEY: 1e13}, r"a number <= 1e\+12"),
        ("surprise", 1, "found also surprise"),
    ],
)
def test_a_file_edited_into_nonsense_says_where(
    health: Health, tmp_path: Path, field: str, value: Any, problem: str
) -> None:
    raw = written(health, tmp_path)
    raw[field] = value
    (tmp_path / HEALTH_FILE).write_text(json.dumps(raw))
    with pytest.raises(HealthError, match=problem) as found:
        read_health(tmp_path / HEALTH_FILE)
    todo = "--upgrade lineside" if value == 2 else "lineside calibrate BUNDLE --good DIR"
    assert todo in str(found.value)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "1e1500"])
def test_numbers_that_are_none(health: Health, tmp_path: Path, number: str) -> None:
    text = json.dumps({**written(health, tmp_path), "tolerated_share": "here"})
    (tmp_path / HEALTH_FILE).write_text(text.replace('"here"', number))
    with pytest.raises(HealthError, match="expected"):
        read_health(tmp_path / HEALTH_FILE)


@pytest.mark.parametrize("field", ["values", "limits", "judge", "size", "n_good", "set_at"])
def test_a_missing_field_is_named(health: Health, tmp_path: Path, field: str) -> None:
    raw = written(health, tmp_path)
    del raw[field]
    (tmp_path / HEALTH_FILE).write_text(json.dumps(raw))
    with pytest.raises(HealthError, match=f"the field '{field}'"):
        read_health(tmp_path / HEALTH_FILE)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_change_is_read_or_refused_with_a_message(
    health: Health, tmp_path: Path, data: st.DataObject
) -> None:
    raw = written(health, tmp_path)
    place: Any = raw
    while True:
        key = data.draw(
            st.sampled_from(sorted(place) if isinstance(place, dict) else list(range(len(place))))
        )
        inside = place[key]
        if isinstance(inside, (dict, list)) and inside and data.draw(st.booleans()):
            place = inside
            continue
        place[key] = data.draw(NONSENSE)
        break
    (tmp_path / HEALTH_FILE).write_text(json.dumps(raw))
    try:
        found = read_health(tmp_path / HEALTH_FILE)
    except HealthError as error:
        assert "expected" in str(error) or "missing" in str(error)
        return
    # What was accepted must work.
    image = random_image(1, 20)
    found.reason(measure(image), (64, 64), (32, 32), KEY, 1.0)
    DriftMonitor(found, KEY).update(measure(image), 1.0)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    content=st.one_of(
        st.binary(max_size=60),
        st.recursive(NONSENSE, st.lists).map(lambda v: json.dumps(v).encode()),
    )
)
def test_any_other_content_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / HEALTH_FILE).write_bytes(content)
    with pytest.raises(HealthError):
        read_health(tmp_path / HEALTH_FILE)


def learned(health: Health, gain: float, parts: int = 60) -> DriftMonitor:
    monitor = DriftMonitor(health, KEY, seed=0)
    for seed in range(parts):
        image = (photograph(seed, side=32) * (1.0 if seed < 30 else gain)).astype(np.uint8)
        monitor.update(measure(image), float(reference(image)["pred_score"][0]))
    return monitor


def stored(monitor: DriftMonitor) -> str:
    return msgspec.json.encode(state_of(monitor)).decode()


@pytest.mark.parametrize("gain", [1.0, 0.9])
def test_the_state_goes_on_where_it_was(health: Health, tmp_path: Path, gain: float) -> None:
    monitor = learned(health, gain)
    assert (monitor.alarm is not None) == (gain < 1)
    (tmp_path / "state.json").write_text(stored(monitor))
    found = read_state(tmp_path / "state.json", health, KEY)
    assert found is not None
    assert (found.parts, found.alarm) == (monitor.parts, monitor.alarm)
    assert state_of(found) == state_of(monitor)
    # The same parts move both alike; only the order of ties is drawn anew.
    np.testing.assert_array_equal(found.bets.starts, monitor.bets.starts)
    found.update(measure(random_image(99, 20)), 15.0)
    assert found.parts == monitor.parts + 1


def test_the_state_of_another_baseline_is_not_used(health: Health, tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text(stored(learned(health, 1.0)))
    other = replace(health, scores={KEY: np.array([1.0, 2.0])})
    assert read_state(tmp_path / "state.json", other, KEY) is None
    assert read_state(tmp_path / "state.json", health, "onnxruntime/fp32") is None
    settings_only = replace(health, tolerated_share=0.2, judge=False, note="another")
    assert fingerprint(settings_only, KEY) == fingerprint(health, KEY)
    assert read_state(tmp_path / "state.json", settings_only, KEY) is not None


@pytest.fixture(scope="module")
def state(health: Health) -> str:
    return stored(learned(health, 0.9, parts=45))


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_damaged_state_is_refused_or_works(
    health: Health, state: str, tmp_path: Path, data: st.DataObject
) -> None:
    raw = json.loads(state)
    place: Any = raw
    while True:
        key = data.draw(
            st.sampled_from(sorted(place) if isinstance(place, dict) else list(range(len(place))))
        )
        if isinstance(place[key], (dict, list)) and place[key] and data.draw(st.booleans()):
            place = place[key]
            continue
        place[key] = data.draw(NONSENSE)
        break
    (tmp_path / "state.json").write_text(json.dumps(raw))
    try:
        found = read_state(tmp_path / "state.json", health, KEY)
    except HealthError as error:
        assert "name another file, or delete it" in str(error)
        return
    if found is not None:
        found.update(measure(random_image(1, 20)), 15.0)
