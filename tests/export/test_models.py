"""A third model, from outside, goes through every command without another line of code."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from export.models import families, family_of, register, unregister
from runtime.bundle.folder import Bundle
from tests.cli import lineside
from tests.export.tiny_model import PixelFamily

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tiny() -> Iterator[PixelFamily]:
    family = PixelFamily()
    register(family)
    yield family
    unregister(family.name)


@pytest.fixture(scope="module")
def bundle(tiny: PixelFamily, sample_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "tile-pixels"
    where = ("--data", sample_root, "--category", "tile", "--out", out)
    done = lineside("train", "--model", "pixels", *where, "--size", 64, "--least", 0.03)
    assert done.returncode == 0, done.stderr
    return out


def test_a_new_model_has_its_options_and_the_others_refuse_them(
    tiny: PixelFamily, tmp_path: Path
) -> None:
    shown = lineside("train", "--help").stdout
    assert "--model [patchcore|efficientad|pixels]" in shown
    assert "Pixels: least deviation of a pixel. [default: 0.02]" in " ".join(shown.split())
    where = ("--data", tmp_path, "--out", tmp_path / "out")
    refused = lineside("train", "--model", "patchcore", *where, "--least", 1).line()
    assert "--least: expected settings of patchcore" in refused
    assert (
        "--least: expected more than 0"
        in lineside("train", "--model", "pixels", *where, "--least", 0).line()
    )


def test_it_is_certified_and_its_manifest_says_what_it_is(bundle: Path) -> None:
    with Bundle.open(bundle) as opened:
        manifest = opened.manifest
        assert manifest.model == "pixels"
        assert manifest.recipe == {
            "model": "pixels",
            "size_hw": [64, 64],
            "least": 0.03,
            "int8_attempts": [0.0, 0.125, 0.25, 0.5],
        }
        for parity in manifest.certificate["variants"].values():
            assert parity["holds"]
            assert parity["verdict_flips"] == 0


def test_it_inspects_evaluates_and_is_timed(bundle: Path, sample_root: Path) -> None:
    picture = sample_root / "tile" / "test" / "good" / "000.png"
    inspected = json.loads(lineside("inspect", bundle, picture, "--json").stdout)
    assert inspected["verdict"] in ("good", "anomalous")
    evaluated = lineside("evaluate", bundle, "--data", sample_root, "--json")
    assert evaluated.returncode == 0, evaluated.stderr
    row = json.loads(evaluated.stdout.splitlines()[0])
    assert row["model"] == "pixels"
    assert 0.0 <= row["image_auroc"] <= 1.0
    timed = lineside("bench", bundle, "--json")
    assert timed.returncode == 0, timed.stderr
    assert json.loads(timed.stdout)["p50_ms"] > 0.0


@pytest.mark.nightly
def test_it_can_be_planned(tiny: PixelFamily, sample_root: Path, tmp_path: Path) -> None:
    where = ("--data", sample_root, "--category", "tile", "--out", tmp_path / "best")
    done = lineside("plan", "--model", "pixels", *where, "--sizes", "32,64", "--json")
    assert done.returncode == 0, done.stderr
    variants = json.loads(done.stdout)["variants"]
    assert {(one["side"], one["prototypes"]) for one in variants} == {(32, None), (64, None)}


@pytest.mark.parametrize("name", ["patchcore", "efficientad"])
def test_the_models_that_ship_are_found_by_name(name: str) -> None:
    family = family_of(name)
    assert family in families()
    assert family.recipe().model == family.name == name


def test_the_options_of_training_need_no_torch() -> None:
    asked = "from tests.cli import lineside; lineside('train', '--help')"
    script = f"import sys; {asked}; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
