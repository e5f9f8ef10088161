"""``import lineside`` and ``python -m lineside``: what they load, give, and withstand."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

import lineside
from runtime.engines.base import Arrays
from tests import cli
from tests.edge_app.tiny_bundle import CELLS, LENGTH
from tests.runtime.tiny import random_image, write_bundle

HEAVY = [
    "numpy",
    "cv2",
    "openvino",
    "onnxruntime",
    "rich",
    "torch",
    "qdrant_client",
    "qdrant_edge",
    "gradio",
    "scipy",
]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("tiny") / "bundle")


def python(code: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_it_loads_the_standard_library_and_itself(tmp_path: Path) -> None:
    code = (
        "import json, sys; before = set(sys.modules); import lineside; "
        "new = set(sys.modules) - before; print(json.dumps(sorted(new)))"
    )
    new = {name.split(".")[0] for name in json.loads(python(code, tmp_path))}
    assert new - set(sys.stdlib_module_names) == {"lineside"}


def test_every_name_is_there() -> None:
    assert {"Inspector", "Bundle", "FakeEngine", "open_store"} <= set(lineside.__all__)
    for name in lineside.__all__:
        assert getattr(lineside, name) is not None
        assert name in dir(lineside)
    with pytest.raises(AttributeError, match="no attribute 'Inspecter'"):
        lineside.Inspecter  # noqa: B018


def test_a_file_that_is_called_as_our_package_changes_nothing(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "runtime.py").write_text("raise SystemExit('hijacked')")
    done = cli.lineside_process("--version", cwd=tmp_path)
    assert done.stdout.startswith("lineside, version ")
    done = cli.lineside("bench", bundle, "--repetitions", 5, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["cold_start_ms"] > 0


@pytest.mark.parametrize("arguments", [[], ["bench", "--help"], ["search", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    code = f"""
import sys
from runtime.cli import cli
cli({[*arguments] or ["--help"]!r}, standalone_mode=False)
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    assert python(code, tmp_path).splitlines()[-1] == "[]"


@pytest.fixture
def fake() -> Iterator[lineside.FakeEngine]:
    def mean_gray(inputs: Arrays) -> Arrays:
        score = np.float32(inputs["image"].mean())
        return {
            "pred_score": np.array([score]),
            "anomaly_map": np.full((1, 1, CELLS, CELLS), score),
            "embedding": np.full((1, LENGTH), LENGTH**-0.5, np.float32),
        }

    return lineside.FakeEngine(mean_gray)


def test_a_fake_engine_stands_in_for_a_real_one(bundle: Path, fake: lineside.FakeEngine) -> None:
    with lineside.Inspector(bundle, engine=fake) as inspector:
        found = {
            level: inspector.inspect(np.full((50, 40, 3), level, np.uint8)) for level in (10, 200)
        }
    assert (found[10].verdict, found[200].verdict) == ("good", "anomalous")
    assert found[200].pred_score == 200.0
    assert (found[10].engine, found[10].device) == ("openvino", "CPU")


def test_paths_may_be_text(bundle: Path, tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / "part.png"), random_image(0, 20)[:, :, ::-1])
    with lineside.Inspector(str(bundle)) as inspector:
        found = inspector.inspect(str(tmp_path / "part.png"))
    assert found.verdict == "good"
    times = found.times
    assert found.latency_ms == times.decode + times.resize + times.infer + times.judge


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for seed in range(2):
        assert cv2.imwrite(str(tmp_path / f"{seed}.png"), random_image(seed, 20)[:, :, ::-1])
    (tmp_path / "broken.png").write_bytes(b"no picture")
    return tmp_path


@pytest.mark.parametrize("after", [False, True], ids=["before the subcommand", "after it"])
@pytest.mark.parametrize("option", [["-q"], ["-v"], ["--log-format", "json"]], ids=" ".join)
def test_what_stderr_says(bundle: Path, pictures: Path, option: list[str], *, after: bool) -> None:
    command = ["inspect", bundle, pictures]
    done = cli.lineside(*([*command, *option] if after else [*option, *command]))
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 2
    if option == ["-q"]:
        assert done.stderr == ""
    elif option == ["-v"]:
        assert "broken.png" in done.stderr
    else:
        said = [json.loads(line) for line in done.stderr.splitlines()]
        assert {"time", "level", "message"} == set(said[0])
        assert "3 pictures" in said[-1]["message"]


def test_the_output_options_are_shown_once() -> None:
    assert "--log-format" in cli.lineside("--help").stdout
    assert "--log-format" not in cli.lineside("inspect", "--help").stdout
