"""The verdict cannot_judge: through the Inspector on every engine, and through the commands."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime.bundle.folder import Bundle, pack_archive
from runtime.errors import HealthError
from runtime.health.baseline import HEALTH_FILE, Health, Limit, read_health, write_health
from runtime.health.state import DriftWatch, read_state
from runtime.inspector import Inspector
from runtime.sources.watching import watch as watch_library
from tests.cli import lineside
from tests.runtime.tiny import ENGINES, random_image, reference, write_bundle
from tests.runtime.unwell import CAMERA, FAULTS, photograph, tiny_health, write_healthy_bundle


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_healthy_bundle(tmp_path_factory.mktemp("healthy") / "bundle")


@pytest.fixture
def bundle(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "bundle"))


def change(bundle: Path, **fields: object) -> Health:
    health = replace(read_health(bundle / HEALTH_FILE), **fields)
    write_health(bundle / HEALTH_FILE, health)
    return health


@pytest.mark.parametrize("engine", ENGINES)
def test_a_bad_picture_says_why_it_cannot_be_judged(bundle: Path, engine: str) -> None:
    with Inspector(bundle, engine=engine) as inspector:
        for expected, fault in FAULTS.items():
            found = inspector.inspect(fault(photograph(100)))
            assert found.verdict == "cannot_judge", expected
            assert expected in found.reason
            assert found.to_json()["reason"] == found.reason
            assert np.isfinite(found.pred_score)
        for frame in (
            np.zeros((CAMERA, CAMERA, 3), np.uint8),
            np.full((CAMERA, CAMERA, 3), 255, np.uint8),
        ):
            found = inspector.inspect(frame)
            assert found.verdict == "cannot_judge"
            assert "contrast" in found.reason


@pytest.mark.parametrize("engine", ENGINES)
def test_good_parts_and_defects_are_judged_as_ever(bundle: Path, engine: str) -> None:
    with Inspector(bundle, engine=engine) as inspector:
        good = [inspector.inspect(photograph(seed)) for seed in range(200, 260)]
        assert {found.verdict for found in good} == {"good"}
        assert {found.reason for found in good} == {""}
        assert "reason" not in good[0].to_json()
        for seed in range(20):
            # A dent: one cell far from grey, the rest as good as any.
            image = photograph(seed)
            image[:16, 16:32] = 20 if seed % 2 else 240
            found = inspector.inspect(image)
            assert (found.verdict, found.reason) == ("anomalous", "")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_score_beyond_anything_calibrated_is_not_believed(bundle: Path, engine: str) -> None:
    image = random_image(3, 100)
    score = float(reference(image)["pred_score"][0])
    change(bundle, limits={}, score_limits={f"{engine}/fp32": score - 1})
    with Inspector(bundle, engine=engine) as inspector:
        found = inspector.inspect(image)
        assert found.verdict == "cannot_judge"
        assert "far beyond anything calibrated" in found.reason
        change(bundle, limits={}, score_limits={f"{engine}/fp32": score + 1})
        assert inspector.refresh_health()
        assert inspector.inspect(image).verdict == "anomalous"


def test_a_bundle_without_it_judges_every_picture(tmp_path: Path) -> None:
    with Inspector(write_bundle(tmp_path / "old")) as inspector:
        assert inspector.health is None
        found = inspector.inspect(np.zeros((CAMERA, CAMERA, 3), np.uint8))
        assert (found.verdict, found.reason, found.statistics) == ("anomalous", "", None)


def test_an_edit_counts_without_a_restart_and_damage_keeps_the_last_good_state(
    bundle: Path,
) -> None:
    path = bundle / HEALTH_FILE
    dark = FAULTS["too dark"](photograph(1))
    with Inspector(bundle) as inspector:
        assert inspector.inspect(dark).verdict == "cannot_judge"
        path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 9'))
        assert inspector.refresh_health()
        assert "the check of pictures cannot be used as it is now" in inspector.health_problem
        assert "expected schema version 1, found 9" in inspector.health_problem
        assert inspector.inspect(dark).verdict == "cannot_judge"
        assert inspector.inspect(photograph(1)).verdict == "cannot_judge"
        write_health(path, replace(tiny_health(), judge=False))
        assert inspector.refresh_health()
        assert inspector.health_problem == ""
        assert inspector.inspect(dark).verdict == "anomalous"
        assert inspector.inspect(dark).statistics is not None, "the drift test still wants them"
        path.unlink()
        assert inspector.refresh_health()
        assert inspector.health is None
        assert inspector.inspect(dark).statistics is None


def test_a_damaged_file_is_refused_when_a_bundle_is_opened(bundle: Path) -> None:
    (bundle / HEALTH_FILE).write_text("{")
    with pytest.raises(HealthError, match=r"expected readable JSON.*lineside calibrate"):
        Inspector(bundle)


def test_a_packed_bundle_takes_its_check_along(bundle: Path, tmp_path: Path) -> None:
    pack_archive(bundle, tmp_path / "tile.lineside")
    with Inspector(tmp_path / "tile.lineside") as inspector:
        assert inspector.inspect(FAULTS["out of focus"](photograph(1))).verdict == "cannot_judge"
    assert (
        "unpack it first" in lineside("health", tmp_path / "tile.lineside", "--judge", "off").line()
    )


def test_several_streams_measure_at_once(bundle: Path) -> None:
    from runtime.pipeline import inspect_all

    pictures = [
        photograph(seed) if seed % 3 else FAULTS["too dark"](photograph(seed)) for seed in range(30)
    ]
    with Inspector(bundle, streams=2) as inspector:
        found = [
            prediction
            for _, prediction in inspect_all(inspector, pictures, lambda picture: picture)
        ]
    assert [one.verdict for one in found] == [
        "good" if seed % 3 else "cannot_judge" for seed in range(30)
    ]


@pytest.mark.parametrize(
    ("names", "code"),
    [(["good"], 0), (["good", "dark"], 3), (["good", "flagged"], 3), (["dark", "broken"], 1)],
)
def test_inspect_counts_a_part_that_cannot_be_judged_as_not_good(
    bundle: Path, tmp_path: Path, names: list[str], code: int
) -> None:
    pictures = {
        "good": photograph(1),
        "dark": FAULTS["too dark"](photograph(2)),
        "flagged": photograph(3, 90),
    }
    for name in names:
        path = tmp_path / f"{name}.png"
        if name in pictures:
            cv2.imwrite(str(path), pictures[name][:, :, ::-1])
        else:
            path.write_bytes(b"no picture")
    paths = [str(tmp_path / f"{name}.png") for name in names]
    done = lineside("inspect", bundle, *paths, "--json", "--fail-on-anomaly")
    assert done.returncode == code, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    verdicts = {"good": "good", "dark": "cannot_judge", "flagged": "anomalous"}
    assert [row["verdict"] for row in rows] == [
        verdicts[name] for name in names if name in verdicts
    ]
    assert [("reason" in row) for row in rows] == [
        name == "dark" for name in names if name in verdicts
    ]
    without = lineside("inspect", bundle, *paths)
    assert without.returncode == (1 if code == 1 else 0)
    if "dark" in names:
        assert "too dark" in without.stdout
        assert "1 cannot be judged" in without.stderr


def health_of(bundle: Path, *options: str) -> dict[str, object]:
    done = lineside("health", bundle, *options, "--json")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_the_health_command_shows_and_changes(bundle: Path) -> None:
    before = health_of(bundle)
    assert before["n_good"] == 40
    assert before["n_scores"] == {"onnxruntime/fp32": 40, "openvino/fp32": 40}
    changed = health_of(
        bundle,
        "--limit",
        "brightness=50:200",
        "--limit",
        "focus=:",
        "--drift",
        "off",
        "--parts-between-false-alarms",
        "5000",
        "--tolerated-share",
        "0.1",
    )
    assert changed["limits"]["brightness"] == pytest.approx([np.log2(51), np.log2(201)], abs=1e-3)
    assert changed["limits"]["focus"] == [None, None]
    assert (changed["drift"], changed["judge"], changed["refused_rate"]) == (False, True, None)
    health = Bundle.open(bundle).health()
    assert health is not None
    assert health.limits["focus"] == Limit(None, None)
    assert (health.parts_between_false_alarms, health.tolerated_share) == (5000, 0.1)
    shown = lineside("health", bundle).stdout
    assert "50 grey levels" in shown
    assert "drift test: off" in shown


@pytest.mark.parametrize(
    "limit",
    [
        "brightness",
        "brightness=40",
        "sharpness=1:2",
        "focus=a:2",
        "focus=3:2",
        "contrast=nan:",
        "brightness=1e300:",
    ],
)
def test_a_limit_that_makes_no_sense_is_refused_and_nothing_changes(
    bundle: Path, limit: str
) -> None:
    before = (bundle / HEALTH_FILE).read_bytes()
    assert "--limit" in lineside("health", bundle, "--limit", limit).line()
    assert (bundle / HEALTH_FILE).read_bytes() == before


def test_the_health_command_on_an_old_bundle_says_what_to_type(tmp_path: Path) -> None:
    line = lineside("health", write_bundle(tmp_path / "old")).line()
    assert "lineside calibrate BUNDLE --good DIR" in line


def watch(bundle: Path, folder: Path, *options: str) -> tuple[list[dict], str]:
    done = lineside("watch", bundle, folder, "--once", "--json", *options)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def fill(folder: Path, first: int, count: int, gain: float) -> Path:
    folder.mkdir(exist_ok=True)
    for index in range(first, first + count):
        image = (photograph(1000 + index) * gain).astype(np.uint8)
        cv2.imwrite(str(folder / f"{index:05d}.png"), image[:, :, ::-1])
    return folder


def test_watch_reports_drift_and_keeps_what_it_has_learned(bundle: Path, tmp_path: Path) -> None:
    state = tmp_path / "camera.json"
    rows, err = watch(bundle, fill(tmp_path / "before", 0, 40, 1.0), "--drift-state", str(state))
    assert [row["drift"] for row in rows] == [None] * 40
    assert "drift:" not in err
    rows, err = watch(bundle, fill(tmp_path / "after", 40, 40, 0.9), "--drift-state", str(state))
    assert {row["verdict"] for row in rows} == {"good"}, (
        "a part may be judged although something has changed"
    )
    alarm = rows[-1]["drift"]
    # The tiny model's score is a deviation from mid grey, so a darker picture moves both.
    what = {"brightness": "too dark (brightness lower)", "raw_score": "raw score higher"}
    assert alarm["what"] == what[alarm["statistic"]]
    assert 36 <= alarm["since_part"] <= 45, "counted on from the first run"
    assert "drift: since about part" in err
    assert err.count("drift: since") == 2, "when it is noticed, and at the end"
    rows, _ = watch(bundle, fill(tmp_path / "again", 80, 2, 0.9), "--drift-state", str(state))
    assert rows[0]["drift"] == alarm


def test_watch_says_what_a_picture_lacks_and_takes_over_an_edit(
    bundle: Path, tmp_path: Path
) -> None:
    rows, err = watch(bundle, fill(tmp_path / "dark", 0, 3, 0.3))
    assert [row["verdict"] for row in rows] == ["cannot_judge"] * 3
    assert all("too dark" in row["reason"] for row in rows)
    assert "3 cannot_judge" in err
    change(bundle, drift=False, judge=False)
    rows, _ = watch(bundle, tmp_path / "dark")
    assert [(row["verdict"], row["drift"]) for row in rows] == [("anomalous", None)] * 3


def test_watch_refuses_a_file_that_is_no_state_and_leaves_it_alone(
    bundle: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "notes.json"
    mine.write_text('{"mine": 1}')
    done = lineside(
        "watch", bundle, fill(tmp_path / "in", 0, 1, 1.0), "--once", "--drift-state", mine
    )
    assert "expected the state of a drift test" in done.line()
    assert mine.read_text() == '{"mine": 1}'


def test_switching_the_drift_test_off_is_not_the_end_of_a_change(
    bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Through the library, with health.json edited while the line runs."""
    caplog.set_level("INFO", "lineside")
    parts = fill(tmp_path / "in", 0, 60, 0.8)
    seen = watch_library(bundle, [str(parts)], drift_state=tmp_path / "state.json")
    alarms = [next(seen).drift for _ in range(60)]
    assert alarms[-1] is not None
    assert "drift: since" in caplog.text
    change(bundle, drift=False)
    fill(parts, 60, 2, 0.8)
    assert [next(seen).drift for _ in range(2)] == [None, None]
    (bundle / HEALTH_FILE).unlink()
    fill(parts, 62, 1, 0.8)
    assert next(seen).drift is None
    seen.close()
    assert "over" not in caplog.text
    assert not (tmp_path / "state.json").exists()


def test_the_state_of_the_drift_test_is_written_now_and_then_and_at_the_end(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state.json"
    drift = DriftWatch(state)
    with Inspector(bundle) as inspector:
        part = inspector.inspect(photograph(1000))
        seen = (inspector.health, inspector.variant.key, part.statistics, part.pred_score)
    for _ in range(30):
        drift.see(*seen)
    assert not state.exists()
    monkeypatch.setattr("runtime.health.state.SAVE_EVERY_S", 0.0)
    drift.see(*seen)
    assert json.loads(state.read_text())["parts"] == 31
    assert read_state(state, read_health(bundle / HEALTH_FILE), "openvino/fp32") is not None
