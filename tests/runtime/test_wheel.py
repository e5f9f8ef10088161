"""What the edge box gets: the wheel in an environment of its own, with the base dependencies and
nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("lineside", "export", "runtime", "calibration", "edge_app")
HEAVY = (
    "torch",
    "torchvision",
    "anomalib",
    "timm",
    "gradio",
    "onnxruntime",
    "sklearn",
    "scipy",
    "qdrant_edge",
)
# What pip says when it reaches no index, as opposed to an index that lacks a package.
UNREACHABLE = (
    "NewConnectionError",
    "NameResolutionError",
    "ConnectTimeoutError",
    "ProxyError",
    "ReadTimeoutError",
    "Connection refused",
    "Network is unreachable",
)


def run(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    # Nothing of the working tree or the user's own packages may reach the box.
    kept = {
        key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")
    }
    env = {**kept, "PYTHONNOUSERSITE": "1"}
    # pip draws its progress in UTF-8, whatever the locale.
    said = {"encoding": "utf-8", "errors": "replace", "capture_output": True}
    return subprocess.run([str(c) for c in command], check=False, cwd=cwd, env=env, **said)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy so that the working tree gets no build folder."""
    source = tmp_path_factory.mktemp("source")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    done = run(
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        source / "dist",
        cwd=source,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (built,) = (source / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def box(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and its base dependencies; its folder of commands."""
    folder = tmp_path_factory.mktemp("box") / "env"
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    done = run(
        python,
        "-m",
        "pip",
        "install",
        "--retries",
        1,
        "--disable-pip-version-check",
        wheel,
        cwd=folder,
    )
    if done.returncode != 0 and any(word in done.stderr + done.stdout for word in UNREACHABLE):
        pytest.skip(
            "pip cannot reach a package index, so the base dependencies cannot be installed"
        )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder / "bin"


def test_the_wheel_holds_the_five_packages_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)
    expected = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
    }
    assert expected <= set(names)


def test_nothing_heavy_comes_with_the_base_install(box: Path, tmp_path: Path) -> None:
    code = (
        "import importlib.util as u, json; "
        f"print(json.dumps([m for m in {HEAVY!r} if u.find_spec(m)]))"
    )
    done = run(box / "python", "-c", code, cwd=tmp_path)
    assert json.loads(done.stdout) == []


def test_the_box_says_the_version_of_pyproject(box: Path, tmp_path: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    done = run(box / "python", "-m", "lineside", "--version", cwd=tmp_path)
    assert done.stdout == f"lineside, version {project['version']}\n", done.stderr


def test_the_box_is_well(box: Path, tmp_path: Path, patchcore_bundle: Path) -> None:
    done = run(box / "lineside", "doctor", patchcore_bundle, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    found = [json.loads(line) for line in done.stdout.splitlines()]
    (extras,) = [one["found"] for one in found if one["check"] == "extras"]
    assert extras.startswith("installed: none")


def test_the_box_inspects(
    box: Path, tmp_path: Path, patchcore_bundle: Path, sample_root: Path
) -> None:
    picture = min((sample_root / "tile" / "test").rglob("*.png"))
    here = run(
        sys.executable,
        "-P",
        "-m",
        "lineside",
        "inspect",
        patchcore_bundle,
        picture,
        "--json",
        cwd=ROOT,
    )
    done = run(box / "lineside", "inspect", patchcore_bundle, picture, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found, expected = json.loads(done.stdout), json.loads(here.stdout)
    assert found["verdict"] == expected["verdict"]
    assert found["pred_score"] == pytest.approx(expected["pred_score"], rel=1e-4)
    assert {"path", "threshold", "engine", "precision", "latency_ms"} <= set(found)


def test_the_box_is_taught_a_part(
    box: Path, tmp_path: Path, patchcore_bundle: Path, sample_root: Path
) -> None:
    good, new = sample_root / "tile" / "train" / "good", tmp_path / "new"
    teach = ("teach", patchcore_bundle, "--good", good, "--out", new, "--name", "taught")
    done = run(box / "lineside", *teach, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    picture = min((sample_root / "tile" / "test" / "crack").glob("*.png"))
    done = run(box / "lineside", "inspect", new, picture, "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["verdict"] == "anomalous", done.stderr


def test_the_box_verifies_its_own_engine(box: Path, tmp_path: Path, patchcore_bundle: Path) -> None:
    done = run(box / "lineside", "verify", patchcore_bundle, "--engine", "openvino", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_box_verifies_what_it_has_and_says_what_it_left_out(
    box: Path, tmp_path: Path, patchcore_bundle: Path
) -> None:
    done = run(box / "lineside", "verify", patchcore_bundle, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "openvino/fp32" in done.stdout
    assert "skipped onnxruntime/fp32" in done.stderr


def test_the_help_works_without_the_extras(box: Path, tmp_path: Path) -> None:
    done = run(box / "lineside", "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-1000:]
    for name in ("train", "evaluate", "inspect", "search"):
        assert f"\n  {name} " in done.stdout
        helped = run(box / "lineside", name, "--help", cwd=tmp_path)
        assert helped.returncode == 0, helped.stderr[-1000:]


@pytest.mark.parametrize(
    ("extra", "arguments"),
    [
        ("train", ["train", "--model", "patchcore", "--data", ".", "--out", "b"]),
        ("onnxruntime", ["inspect", "BUNDLE", "PICTURE", "--engine", "onnxruntime"]),
        ("calibrate", ["evaluate", "BUNDLE", "--data", "DATA"]),
    ],
)
def test_a_missing_extra_says_what_to_install(
    box: Path,
    tmp_path: Path,
    patchcore_bundle: Path,
    sample_root: Path,
    extra: str,
    arguments: list[str],
) -> None:
    places = {
        "BUNDLE": patchcore_bundle,
        "DATA": sample_root / "tile",
        "PICTURE": min((sample_root / "tile" / "test").rglob("*.png")),
    }
    done = run(
        box / "lineside", *[places.get(argument, argument) for argument in arguments], cwd=tmp_path
    )
    assert done.returncode == 1, done.stderr
    assert f"pip install 'lineside[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
