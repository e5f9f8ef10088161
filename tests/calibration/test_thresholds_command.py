"""``lineside thresholds``: show, set, roll back; and a file edited into nonsense."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.bundle.folder import Bundle, pack_archive
from runtime.bundle.thresholds import THRESHOLDS_FILE, Threshold, Thresholds, read_thresholds
from runtime.bundle.thresholds_file import last_from_good_parts, roll_back
from runtime.errors import ThresholdError
from runtime.inspector import Inspector
from tests.calibration.synthetic import KEYS, picture, two_variant_bundle
from tests.cli import lineside


@pytest.fixture
def bundle(tmp_path):
    return two_variant_bundle(tmp_path / "bundle")


def invoke(bundle, *arguments):
    return lineside("thresholds", bundle, *arguments)


def rows_of(bundle, *arguments):
    done = invoke(bundle, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def values(bundle):
    return [Bundle.open(bundle).thresholds().of(key).image_threshold for key in KEYS]


def test_show_is_the_default_and_changes_nothing(bundle):
    before = (bundle / THRESHOLDS_FILE).read_bytes()
    rows = rows_of(bundle)
    assert [row["variant"] for row in rows] == list(KEYS)
    assert rows[0]["image_threshold"] == 64.0
    assert rows[0]["max_false_rejects"] == 0.01
    table = invoke(bundle).stdout
    assert "64.0000" in table
    assert "conformal" in table
    assert (bundle / THRESHOLDS_FILE).read_bytes() == before


def test_set_takes_effect_and_withdraws_the_promise(bundle):
    rows_of(
        bundle, "set", "--image-threshold", 50, "--precision", "fp16", "--note", "agreed with QA"
    )
    assert values(bundle) == [64.0, 50.0]
    found = Bundle.open(bundle).thresholds().of("openvino/fp16")
    assert (found.method, found.max_false_rejects, found.note) == ("manual", None, "agreed with QA")
    assert found.pixel_threshold == 64.0


def test_set_the_pixel_threshold_alone(bundle):
    rows_of(bundle, "set", "--pixel-threshold", 30)
    found = Bundle.open(bundle).thresholds().of(KEYS[0])
    assert (found.image_threshold, found.pixel_threshold) == (64.0, 30.0)


def test_a_running_inspector_takes_the_change_up(bundle, tmp_path):
    part = tmp_path / "part.png"
    picture(part, 60)
    with Inspector(bundle) as inspector:
        assert inspector.inspect(part).verdict == "good"
        rows_of(bundle, "set", "--image-threshold", 50)
        assert inspector.refresh_thresholds()
        assert inspector.inspect(part).verdict == "anomalous"
        (bundle / THRESHOLDS_FILE).write_text("nonsense")
        assert inspector.refresh_thresholds()
        assert "cannot be used" in inspector.threshold_problem
        assert inspector.inspect(part).verdict == "cannot_judge"


def test_rolling_back_goes_further_each_time_and_forgets_nothing(bundle):
    for value in (50, 40, 30):
        rows_of(bundle, "set", "--image-threshold", value)
    for expected in (40.0, 50.0, 64.0):
        rows_of(bundle, "rollback")
        assert values(bundle) == [expected, expected]
    assert Bundle.open(bundle).thresholds().of(KEYS[0]).method == "conformal"
    assert "to go back to, found none" in invoke(bundle, "rollback").line()
    history = rows_of(bundle, "history", "--precision", "fp32")
    assert [row["image_threshold"] for row in history] == [30, 40, 50, 64.0]
    assert [row["state"] for row in history] == ["undone"] * 3 + ["in force"]


def test_setting_after_a_rollback_can_itself_be_rolled_back(bundle):
    rows_of(bundle, "set", "--image-threshold", 50)
    rows_of(bundle, "rollback")
    rows_of(bundle, "set", "--image-threshold", 55)
    rows_of(bundle, "rollback")
    assert values(bundle) == [64.0, 64.0]


def test_rolling_back_all_leaves_alone_what_has_no_earlier_state(bundle):
    rows_of(bundle, "set", "--image-threshold", 50, "--precision", "fp32")
    rows_of(bundle, "rollback")
    assert values(bundle) == [64.0, 64.0]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("option", ["--image-threshold", "--pixel-threshold"])
def test_values_that_are_not_finite_are_refused(bundle, option, value):
    before = (bundle / THRESHOLDS_FILE).read_bytes()
    assert "finite" in invoke(bundle, "set", f"{option}={value}").line()
    assert (bundle / THRESHOLDS_FILE).read_bytes() == before


@pytest.mark.parametrize(
    "arguments",
    [("set",), ("show", "--image-threshold", 1), ("rollback", "--pixel-threshold", 1), ("paint",)],
)
def test_usage_errors(bundle, arguments):
    assert invoke(bundle, *arguments).returncode == 2


def test_a_packed_bundle_can_be_shown_but_not_changed(bundle, tmp_path):
    packed = tmp_path / "tile.lineside"
    pack_archive(bundle, packed)
    assert rows_of(packed)[0]["image_threshold"] == 64.0
    assert "zipfile -e" in invoke(packed, "set", "--image-threshold", 1).line()


@pytest.mark.parametrize(
    "entry",
    [
        {"variant": KEYS[0]},
        {"variant": KEYS[0], "image_threshold": 1.0, "colour": "red"},
        {
            "variant": KEYS[0],
            "image_threshold": math.nan,
            "pixel_threshold": 1.0,
            "median_good_score": 1.0,
            "method": "conformal",
            "n_good": 1,
        },
    ],
)
def test_a_damaged_history_is_refused(entry):
    thresholds = Thresholds({KEYS[0]: Threshold(1.0, 1.0, 0.0, "manual", 0)}, (entry,))
    with pytest.raises(ThresholdError):
        roll_back(thresholds, KEYS[0])


def test_the_newest_threshold_from_good_parts_is_found_behind_others():
    old = Threshold(1.0, 1.0, 0.0, "conformal", 10)
    new = Threshold(2.0, 2.0, 0.0, "tolerance", 10)
    hand = Threshold(9.0, 9.0, 0.0, "manual", 0)
    chain = (
        Thresholds({}).with_threshold("a", old).with_threshold("a", new).with_threshold("a", hand)
    )
    found = last_from_good_parts(chain, "a")
    assert found is not None
    assert found.image_threshold == 2.0
    assert last_from_good_parts(Thresholds({"a": hand}), "a") is None
    assert last_from_good_parts(chain, "b") is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
FIELDS = (
    "image_threshold",
    "pixel_threshold",
    "median_good_score",
    "method",
    "n_good",
    "max_false_rejects",
    "confidence",
    "note",
    "set_at",
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(tmp_path, data):
    path = tmp_path / THRESHOLDS_FILE
    path.write_bytes(data)
    with pytest.raises(ThresholdError):
        read_thresholds(path)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.dictionaries(st.sampled_from([*FIELDS, "colour"]), json_values, max_size=9),
    st.lists(
        st.dictionaries(st.sampled_from([*FIELDS, "variant", "undone"]), json_values), max_size=3
    )
    | json_values,
    st.sampled_from(["show", "history", "rollback"]),
    st.booleans(),
)
def test_whatever_is_edited_in_is_shown_or_refused_but_never_breaks(
    tmp_path, changed, history, action, as_json
):
    good = {
        "image_threshold": 1.0,
        "pixel_threshold": 1.0,
        "median_good_score": 0.5,
        "method": "manual",
        "n_good": 3,
    }
    folder = tmp_path / "bundle"
    if not folder.exists():
        two_variant_bundle(folder)
    value = {"schema_version": 1, "variants": {KEYS[0]: {**good, **changed}}, "history": history}
    (folder / THRESHOLDS_FILE).write_text(json.dumps(value))
    done = invoke(folder, action, *(["--json"] if as_json else []))
    if done.returncode == 0:
        found = read_thresholds(folder / THRESHOLDS_FILE).of(KEYS[0])
        assert math.isfinite(found.image_threshold)
        assert math.isfinite(found.pixel_threshold)
    else:
        done.line()
