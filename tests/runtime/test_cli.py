"""The command line as a user meets it: in a process of its own, by its exit code, stdout and
stderr."""

from __future__ import annotations

import json
from importlib.metadata import entry_points
from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime.bundle.reference import REFERENCE_FILE
from runtime.cli import ORDER
from tests.cli import Done, lineside
from tests.edge_app.tiny_bundle import SIDE
from tests.runtime.tiny import ENGINES, THRESHOLD, random_image, reference, reseal, write_bundle

COMMANDS = sorted(entry.name for entry in entry_points(group="lineside.commands"))
# Enough of each command's required arguments to reach the bundle.
WITH_BUNDLE = {
    "verify": [],
    "inspect": ["picture.png"],
    "bench": [],
    "calibrate": ["--good", "."],
    "evaluate": ["--data", "."],
    "index": ["--images", ".", "--store", "memory:"],
    "search": ["picture.png", "--store", "memory:"],
    "thresholds": [],
    "app": ["--store", "memory:", "--port", "0"],
}


def fails_in_one_line(done: Done, code: int = 1) -> str:
    return done.line(code)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle")


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """One good part and one anomalous, by name."""
    folder = tmp_path / "parts"
    folder.mkdir()
    for name, seed, strength in (("good", 0, 20), ("flagged", 1, 128)):
        assert cv2.imwrite(str(folder / f"{name}.png"), random_image(seed, strength)[:, :, ::-1])
    return folder


def test_the_help_lists_every_command() -> None:
    done = lineside("--help")
    assert done.returncode == 0, done.stderr
    assert "Example" in done.stdout
    for name in COMMANDS:
        assert f"\n  {name} " in done.stdout
    assert set(COMMANDS) <= set(ORDER), "each command has its place in the order of the work"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str) -> None:
    done = lineside(name, "--help")
    assert done.returncode == 0, done.stderr[-500:]
    assert done.stdout.startswith("Usage: ")
    assert "Example" in done.stdout
    assert f"lineside {name}" in done.stdout.split("Example")[1]


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_option_is_a_usage_error(name: str) -> None:
    done = lineside(name, "--no-such-option")
    assert done.returncode == 2, done.stderr[-500:]
    assert "--no-such-option" in done.stderr
    assert done.stdout == ""


def test_an_unknown_command_is_a_usage_error() -> None:
    done = lineside("inspekt")
    assert done.returncode == 2
    assert "inspekt" in done.stderr


def test_the_version_is_the_distributions() -> None:
    assert lineside("--version").stdout.startswith("lineside, version ")


# The page's framework takes seconds to import.
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name == "app")) for name in WITH_BUNDLE],
)
def test_a_missing_bundle_is_one_line(name: str, tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / "picture.png"), random_image(0))
    line = fails_in_one_line(lineside(name, "no-such-bundle", *WITH_BUNDLE[name], cwd=tmp_path))
    assert "no-such-bundle" in line
    assert "lineside train" in line


@pytest.mark.parametrize("engine", ENGINES)
def test_inspect_prints_one_json_object_a_line(bundle: Path, parts: Path, engine: str) -> None:
    done = lineside("inspect", bundle, parts, "--engine", engine, "--json")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [Path(row["path"]).name for row in rows] == ["flagged.png", "good.png"]
    for row, (seed, strength), verdict in zip(
        rows, ((1, 128), (0, 20)), ("anomalous", "good"), strict=True
    ):
        assert {
            "path",
            "verdict",
            "pred_score",
            "threshold",
            "engine",
            "precision",
            "latency_ms",
        } <= set(row)
        assert row["pred_score"] == pytest.approx(
            reference(random_image(seed, strength))["pred_score"][0], rel=1e-5
        )
        assert (row["verdict"], row["threshold"]) == (verdict, THRESHOLD)
        assert (row["engine"], row["precision"]) == (engine, "fp32")
        assert row["latency_ms"] > 0


def test_inspect_exits_with_three_only_if_asked_and_flagged(bundle: Path, parts: Path) -> None:
    assert lineside("inspect", bundle, parts / "flagged.png").returncode == 0
    assert lineside("inspect", bundle, parts / "flagged.png", "--fail-on-anomaly").returncode == 3
    assert lineside("inspect", bundle, parts / "good.png", "--fail-on-anomaly").returncode == 0


def test_inspect_skips_and_names_what_is_no_picture(bundle: Path, parts: Path) -> None:
    (parts / "broken.png").write_bytes(b"no picture")
    done = lineside("inspect", bundle, parts, "--json", "--fail-on-anomaly")
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 2
    assert "broken.png" in done.stderr
    assert "Traceback" not in done.stderr


def test_inspect_saves_a_heat_map_for_each_part(bundle: Path, parts: Path, tmp_path: Path) -> None:
    done = lineside("inspect", bundle, parts, "--save-maps", tmp_path / "maps")
    assert done.returncode == 0, done.stderr
    maps = sorted((tmp_path / "maps").iterdir())
    names = ["00000_flagged", "00000_flagged_mask", "00001_good", "00001_good_mask"]
    assert [path.stem for path in maps] == names
    drawn = [cv2.imread(str(path)) for path in maps[::2]]
    assert {image.shape for image in drawn} == {(SIDE, SIDE, 3)}
    change = [
        np.abs(image.astype(int) - cv2.imread(str(parts / name))).mean()
        for image, name in zip(drawn, ("flagged.png", "good.png"), strict=True)
    ]
    assert change[0] > change[1]


def test_a_folder_that_cannot_be_written_is_one_line(bundle: Path, parts: Path) -> None:
    line = fails_in_one_line(lineside("inspect", bundle, parts, "--save-maps", parts / "good.png"))
    assert "good.png" in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--device", "GPU.7"], "found CPU"),
        (["--precision", "int8"], "found openvino/fp32, onnxruntime/fp32"),
    ],
)
def test_what_this_machine_or_bundle_lacks_is_one_line(
    bundle: Path, parts: Path, options: list[str], message: str
) -> None:
    assert message in fails_in_one_line(lineside("inspect", bundle, parts, *options))
    assert message in fails_in_one_line(lineside("bench", bundle, *options))


def test_bench_prints_its_figures_as_json(bundle: Path) -> None:
    done = lineside("bench", bundle, "--repetitions", 20, "--takt-ms", 1000, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["engine"], found["precision"], found["device"]) == ("openvino", "fp32", "CPU")
    assert found["input_hw"] == [SIDE, SIDE]
    assert 0 < found["p50_ms"] <= found["p95_ms"] <= found["p99_ms"]
    assert found["images_per_second"] == pytest.approx(1000 / found["p50_ms"], rel=0.01)
    assert found["cold_start_ms"] > found["p99_ms"], "a process start costs more than a picture"
    assert 20 < found["peak_rss_mib"] < 4096
    assert found["keeps_takt"] is True


def test_verify_passes_on_a_good_bundle(bundle: Path) -> None:
    done = lineside("verify", bundle, "--json")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["variant"] for row in rows] == ["openvino/fp32", "onnxruntime/fp32"]
    assert all(row["holds"] and row["images"] == 4 for row in rows)


def test_verify_fails_when_the_reference_disagrees(bundle: Path) -> None:
    path = bundle / "golden" / REFERENCE_FILE
    with np.load(path) as stored:
        arrays = dict(stored)
    arrays["scores"] = arrays["scores"] + 0.01 * float(arrays["score_range"])
    np.savez(path, **arrays)
    reseal(bundle)
    done = lineside("verify", bundle)
    assert done.returncode == 1
    assert done.stdout.count("FAILED") == 2
    assert "Traceback" not in done.stderr
    assert "do not inspect with this device" in done.stderr


def test_verify_fails_on_a_changed_byte(bundle: Path) -> None:
    path = bundle / "openvino" / "fp32" / "model.xml"
    path.write_bytes(path.read_bytes() + b" ")
    assert "model.xml" in fails_in_one_line(lineside("verify", bundle))


@pytest.mark.slow
@pytest.mark.parametrize("model", ["patchcore", "efficientad"])
def test_verify_passes_on_what_train_wrote(model: str, request: pytest.FixtureRequest) -> None:
    done = lineside("verify", request.getfixturevalue(f"{model}_bundle"), "--json")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {row["variant"] for row in rows} >= {"openvino/fp32", "onnxruntime/fp32"}
    assert all(row["holds"] for row in rows)
