"""How small the edge side is: cold start, peak memory, installation, against what was promised.

    python -m benchmarks.footprint tile-patchcore
    python -m benchmarks.footprint tile-patchcore --no-install
    python -m benchmarks.footprint tile-patchcore --with "numpy<2.3"

Cold start and memory are those of fresh processes that open the bundle and judge one picture, with
the model cache warm (medians of several). What a large memory bank takes shows with a bundle that
has one: ``lineside train --model patchcore --coreset-ratio 1 --max-prototypes 20480 ...``. The
installation is a wheel of this checkout in an environment of its own, with the base dependencies
and nothing else, which pip has to be able to fetch.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from runtime.bench.start import measure_cold_start
from runtime.bundle.reference import GOLDEN_FOLDER
from runtime.console import say
from runtime.progress import track

ROOT = Path(__file__).resolve().parents[1]
LIMITS = {"cold_start_ms": 1500.0, "peak_rss_mib": 350.0, "installation_mb": 400.0}
ENGINE = {"engine": "openvino", "precision": "fp32", "device": "CPU", "threads": None}
RUNS = 7


def starts(bundle: Path) -> dict[str, float]:
    """Medians over fresh processes; the first, which may fill the model cache, does not count."""
    picture = bundle / GOLDEN_FOLDER / "0.png"
    measure_cold_start(bundle, picture, ENGINE)
    found = [measure_cold_start(bundle, picture, ENGINE) for _ in track(range(RUNS), "cold starts")]
    return {
        "cold_start_ms": statistics.median(start for start, _ in found),
        "peak_rss_mib": statistics.median(memory for _, memory in found),
    }


def installation_mb(folder: Path, requirements: Sequence[str]) -> float:
    """Megabytes (1e6 bytes) of an environment with the base installation, without pip and its like.

    Args:
        folder: for the environment and the wheel.
        requirements: further ones for pip, which may narrow those of the base.
    """
    place = folder / "box"
    say("installing the wheel with its base dependencies")
    venv.create(place, with_pip=True)
    python = place / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    before = _size(place)
    wheels = folder / "wheels"
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(wheels), str(ROOT)]
    _run(build)
    wanted = [*map(str, wheels.glob("*.whl")), *requirements]
    _run([str(python), "-m", "pip", "install", "--quiet", "--no-compile", *wanted])
    return (_size(place) - before) / 1e6


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(f"{' '.join(command)}: {done.stderr.strip()[-500:]}")


def _size(folder: Path) -> int:
    return sum(
        path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    )


@click.command(help=__doc__)
@click.argument("bundle", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--install/--no-install", default=True, show_default=True, help="Measure the installation too."
)
@click.option(
    "--with",
    "requirements",
    multiple=True,
    metavar="REQUIREMENT",
    help='For pip, beside the wheel; repeatable, e.g. "numpy<2.3".',
)
@click.option("--json", "as_json", is_flag=True)
def main(bundle: Path, install: bool, requirements: tuple[str, ...], as_json: bool) -> None:
    """Measure and compare with the limits."""
    with tempfile.TemporaryDirectory(prefix="lineside-footprint-") as folder:
        found: dict[str, Any] = starts(bundle)
        if install:
            found["installation_mb"] = installation_mb(Path(folder), requirements)
    if as_json:
        click.echo(json.dumps({"bundle": str(bundle), **found}))
        return
    for name, value in found.items():
        verdict = "within" if value <= LIMITS[name] else "ABOVE"
        click.echo(f"{name:<16} {value:8.0f}   {verdict} {LIMITS[name]:.0f}")


if __name__ == "__main__":
    main()
