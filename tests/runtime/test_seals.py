"""thresholds.json and health.json carry a seal: an edit that nobody meant, or damage, is told."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.bundle.folder import Bundle
from runtime.bundle.sealing import SEAL, seal_of, seal_problem
from runtime.bundle.thresholds import THRESHOLDS_FILE
from runtime.bundle.thresholds_file import ByHand, thresholds_of
from runtime.errors import BundleError, HealthError, LinesideError, ThresholdError
from runtime.health.baseline import HEALTH_FILE
from runtime.inspector import Inspector
from tests.cli import lineside
from tests.edge_app.tiny_bundle import write_tiny_bundle
from tests.runtime.tiny import random_image, reseal
from tests.runtime.unwell import photograph, write_healthy_bundle

RENEW = {
    THRESHOLDS_FILE: ("thresholds BUNDLE seal", ("thresholds", "seal")),
    HEALTH_FILE: ("health BUNDLE --seal", ("health", "--seal")),
}
OLD = Path(__file__).parent.parent / "compatibility" / "bundle-0.1.zip"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_healthy_bundle(tmp_path_factory.mktemp("sealed") / "bundle")
    # As export does it: health.json is there when the bundle is sealed.
    reseal(folder)
    return folder


@pytest.fixture
def bundle(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "bundle"))


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    raw = json.loads(path.read_text(encoding="utf-8"))
    change(raw)
    path.write_text(json.dumps(raw), encoding="utf-8")


def raised(raw: dict[str, Any]) -> None:
    """A little, so that nothing but the seal shows it."""
    if "variants" in raw:
        raw["variants"]["openvino/fp32"]["image_threshold"] = 66.0
    else:
        raw["limits"]["brightness"][1] += 0.25


def unsealed(raw: dict[str, Any]) -> None:
    del raw[SEAL]


@pytest.mark.parametrize("name", RENEW)
@pytest.mark.parametrize(
    ("change", "message"),
    [(raised, "values that go with its seal"), (unsealed, "the seal that it had")],
)
def test_a_wrong_seal_is_refused_with_what_to_type(
    bundle: Path, name: str, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    advice, command = RENEW[name]
    edit(bundle / name, change)
    with pytest.raises(BundleError, match=message) as caught:
        Inspector(bundle)
    assert f"type: lineside {advice}" in str(caught.value)
    for arguments in (("inspect", bundle, bundle / "golden"), ("verify", bundle)):
        assert message in lineside(*arguments).line()
    done = lineside(command[0], bundle, *command[1:])
    assert done.returncode == 0, done.stderr
    with Inspector(bundle) as inspector:
        assert inspector.inspect(random_image(0, 20)).verdict == "good"
        if change is raised and name == THRESHOLDS_FILE:
            assert inspector.threshold.image_threshold == 66.0
    assert lineside("verify", bundle).returncode == 0


@pytest.mark.parametrize("name", RENEW)
def test_an_edit_while_the_line_runs_judges_nothing_until_it_is_sealed(
    bundle: Path, name: str
) -> None:
    _, command = RENEW[name]
    good = random_image(0, 20)
    with Inspector(bundle) as inspector:
        assert inspector.inspect(good).verdict == "good"
        edit(bundle / name, raised)
        assert inspector.refresh_thresholds() or inspector.refresh_health()
        found = inspector.inspect(good)
        assert (found.verdict, found.is_fault) == ("cannot_judge", True)
        assert "go with its seal" in found.reason
        assert lineside(command[0], bundle, *command[1:]).returncode == 0
        assert inspector.refresh_thresholds() or inspector.refresh_health()
        assert inspector.inspect(good).verdict == "good"


@pytest.mark.parametrize("name", RENEW)
def test_another_layout_of_the_same_values_keeps_the_seal(bundle: Path, name: str) -> None:
    path = bundle / name
    raw = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(dict(reversed(raw.items())), indent=8), encoding="utf-8")
    Inspector(bundle).close()


@pytest.mark.parametrize("value", [1e308, 1e12, 99_999.0, -99_999.0])
@pytest.mark.parametrize("field", ["image_threshold", "pixel_threshold", "median_good_score"])
def test_a_value_far_from_every_known_score_is_refused_even_when_sealed(
    bundle: Path, field: str, value: float
) -> None:
    def change(raw: dict[str, Any]) -> None:
        raw["variants"]["openvino/fp32"][field] = value

    edit(bundle / THRESHOLDS_FILE, change)
    before = (bundle / THRESHOLDS_FILE).read_bytes()
    assert "expected" in lineside("thresholds", bundle, "seal").line()
    assert (bundle / THRESHOLDS_FILE).read_bytes() == before
    edit(bundle / THRESHOLDS_FILE, lambda raw: raw.update({SEAL: seal_of(raw)}))
    with pytest.raises(ThresholdError):
        Inspector(bundle)
    assert "expected" in lineside("verify", bundle).line()


def test_set_refuses_a_value_far_from_every_known_score(bundle: Path) -> None:
    before = (bundle / THRESHOLDS_FILE).read_bytes()
    line = lineside("thresholds", bundle, "set", "--image-threshold", "1e9").line()
    assert "the scores that the bundle holds go from" in line
    assert (bundle / THRESHOLDS_FILE).read_bytes() == before


def test_thresholds_of_another_model_are_refused(bundle: Path, tmp_path: Path) -> None:
    """Copied from an older training, say: every value is right, and means something else."""
    other = write_tiny_bundle(tmp_path / "other", gain=1.02)
    raw = json.loads((other / THRESHOLDS_FILE).read_text())
    assert raw["variants"]["openvino/fp32"]["image_threshold"] == pytest.approx(65.28)
    shutil.copyfile(other / THRESHOLDS_FILE, bundle / THRESHOLDS_FILE)
    with pytest.raises(ThresholdError, match=r"this bundle's model, found another model's"):
        Inspector(bundle)
    assert "another model's" in lineside("verify", bundle).line()
    assert lineside("thresholds", bundle, "seal").returncode == 0, "somebody means it"
    with Inspector(bundle) as inspector:
        assert inspector.inspect(random_image(0, 20)).verdict == "good"


def test_a_lost_health_file_is_told_and_verify_fails(
    bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (bundle / HEALTH_FILE).unlink()
    with Inspector(bundle) as inspector:
        found = inspector.inspect(photograph(1))
        assert (found.verdict, found.is_fault) == ("cannot_judge", True)
        assert "health.json, which was made with the bundle" in found.reason
    assert "expected health.json, which was made with the bundle, found none" in caplog.text
    assert "lineside calibrate BUNDLE --good DIR" in caplog.text
    assert "found none" in lineside("verify", bundle).line()
    assert "found none" in lineside("inspect", bundle, bundle / "golden" / "0.png").stderr


def test_no_message_advises_to_delete_it(bundle: Path) -> None:
    (bundle / HEALTH_FILE).write_text("{")
    with pytest.raises(HealthError) as caught:
        Inspector(bundle)
    assert "delete" not in str(caught.value)


def test_a_bundle_of_an_older_version_opens_and_verify_warns(tmp_path: Path) -> None:
    with zipfile.ZipFile(OLD) as archive:
        archive.extractall(tmp_path / "old")
    done = lineside("inspect", tmp_path / "old", tmp_path / "old" / "golden")
    assert done.returncode == 0
    assert "seal" not in done.stderr
    done = lineside("verify", tmp_path / "old")
    assert done.returncode == 0
    assert "warning: thresholds.json: without a seal" in done.stderr
    assert lineside("thresholds", tmp_path / "old", "seal").returncode == 0
    assert "thresholds.json: without" not in lineside("verify", tmp_path / "old").stderr


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=4), st.text(max_size=5), VALUES)
def test_every_change_of_a_value_shows(value: dict[str, Any], name: str, other: Any) -> None:
    value.pop(SEAL, None)
    sealed = {**value, SEAL: seal_of(value)}
    assert seal_problem(sealed, "required") == ""
    changed = {**sealed, name: other}
    if name != SEAL and json.dumps(changed, sort_keys=True) != json.dumps(sealed, sort_keys=True):
        assert seal_problem(changed, "optional") != ""


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_flipped_byte_is_told_or_changes_nothing(pristine: Path, data: st.DataObject) -> None:
    from runtime.bundle.thresholds import read_thresholds

    path = pristine / THRESHOLDS_FILE
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= 1 << data.draw(st.integers(0, 7))
    target = pristine.parent / "flipped.json"
    target.write_bytes(bytes(content))
    try:
        found = read_thresholds(target, "required")
    except LinesideError:
        return
    assert found == read_thresholds(path)


def test_the_bundle_says_what_it_was_sealed_with(bundle: Path) -> None:
    assert Bundle.open(bundle).manifest.provenance["sealed"] == [THRESHOLDS_FILE, HEALTH_FILE]


def test_thresholds_set_at_once_all_stand_in_the_history(bundle: Path) -> None:
    values = [66.0 + number for number in range(8)]

    def set_to(value: float) -> None:
        thresholds_of(bundle, "set", ByHand(value), engine="openvino", precision="fp32")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(set_to, values))
    rows = thresholds_of(bundle, "history", engine="openvino", precision="fp32")
    assert sorted(row["image_threshold"] for row in rows)[-8:] == values
