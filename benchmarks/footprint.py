"""How small the edge side is: cold start, peak memory and the size of the installation, against what was promised.

    python -m benchmarks.footprint tile-patchcore
    python -m benchmarks.footprint tile-patchcore --prototypes 20480 --no-install

Cold start and memory are those of fresh processes that open the bundle and judge one picture, with the model cache warm
(medians of several). ``--prototypes`` first fills the bundle's memory bank up to that number with copies of its own rows, each
moved a little: latency and memory depend on its size alone. The installation is a wheel of this checkout in an environment of
its own, with the base dependencies and nothing else, which pip has to be able to fetch.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

import click
import numpy as np
import openvino as ov

from runtime.bench.start import measure_cold_start
from runtime.bundle import Bundle
from runtime.bundle_writer import seal
from runtime.golden import GOLDEN_FOLDER
from runtime.progress import say, track

ROOT = Path(__file__).resolve().parents[1]
LIMITS = {"cold_start_ms": 1500.0, "peak_rss_mib": 350.0, "installation_mb": 400.0}
ENGINE = {"engine": "openvino", "precision": "fp32", "device": "CPU", "threads": None}
RUNS = 7


def with_prototypes(source: Path, folder: Path, number: int) -> Path:
    """A copy of a bundle whose OpenVINO graph has a larger memory bank."""
    from calibration.int8.graph_parts import memory_bank, replace_constant

    target = folder / "larger"
    shutil.copytree(source, target)
    with Bundle.open(source) as bundle:
        manifest = bundle.manifest
        path = bundle.model_path(manifest.variant("openvino", "fp32"))
        model = ov.Core().read_model(str(path))
        bank = memory_bank(model)
        if bank is None:
            raise click.ClickException(
                f"{source}: --prototypes expected a PatchCore bundle, found {manifest.model}"
            )
        rows = np.array(bank.get_data())
    random = np.random.default_rng(0)
    drawn = rows[random.integers(0, len(rows), number)]
    moved = drawn + random.normal(0, 0.05 * rows.std(), drawn.shape).astype(np.float32)
    replace_constant(bank, ov.opset13.constant(moved.astype(np.float32)))
    ov.save_model(model, str(target / "openvino" / "fp32" / "model.xml"), compress_to_fp16=False)
    seal(target, manifest)
    return target


def starts(bundle: Path) -> dict[str, float]:
    """Medians over fresh processes; the first, which may fill the model cache, does not count."""
    picture = bundle / GOLDEN_FOLDER / "0.png"
    measure_cold_start(bundle, picture, ENGINE)
    found = [measure_cold_start(bundle, picture, ENGINE) for _ in track(range(RUNS), "cold starts")]
    return {
        "cold_start_ms": statistics.median(start for start, _ in found),
        "peak_rss_mib": statistics.median(memory for _, memory in found),
    }


def installation_mb(folder: Path) -> float:
    """Megabytes (1e6 bytes) of an environment with the base installation, pip and its like left out."""
    place = folder / "box"
    say("installing the wheel with its base dependencies")
    venv.create(place, with_pip=True)
    python = place / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    before = _size(place)
    wheels = folder / "wheels"
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(wheels), str(ROOT)]
    _run(build)
    _run([str(python), "-m", "pip", "install", "--quiet", "--no-compile", *map(str, wheels.glob("*.whl"))])
    return (_size(place) - before) / 1e6


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(f"{' '.join(command)}: {done.stderr.strip()[-500:]}")


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


@click.command(help=__doc__)
@click.argument("bundle", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--prototypes", type=click.IntRange(min=1), help="Size of the memory bank.  [default: as it is]"
)
@click.option("--install/--no-install", default=True, show_default=True, help="Measure the installation too.")
@click.option("--json", "as_json", is_flag=True)
def main(bundle: Path, prototypes: int | None, install: bool, as_json: bool) -> None:
    """Measure and compare with the limits."""
    with tempfile.TemporaryDirectory(prefix="lineside-footprint-") as folder:
        measured = bundle if prototypes is None else with_prototypes(bundle, Path(folder), prototypes)
        found: dict[str, Any] = starts(measured)
        if install:
            found["installation_mb"] = installation_mb(Path(folder))
    if as_json:
        click.echo(json.dumps({"bundle": str(bundle), "prototypes": prototypes, **found}))
        return
    for name, value in found.items():
        verdict = "within" if value <= LIMITS[name] else "ABOVE"
        click.echo(f"{name:<16} {value:8.0f}   {verdict} {LIMITS[name]:.0f}")


if __name__ == "__main__":
    main()
