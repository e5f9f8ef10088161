"""The wheel in a clean environment for each extra: ``python -m scripts.try_extras [EXTRA ...]``.

Each is installed from a package index, as a user would, and does a small piece of its work. The
train extra brings torch, some GB, and is tried only where it is named. ``--lowest`` takes the
oldest versions that pyproject.toml allows.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Of make release's environment, or one in the path.
UV = str(ROOT / ".tools" / "bin" / "uv") if (ROOT / ".tools").is_dir() else "uv"
_START_S = 120.0


@dataclass(frozen=True)
class Place:
    """Where an extra is tried.

    Attributes:
        folder: of its own, empty; commands run in it.
        bundle: a small one with both engines.
    """

    folder: Path
    bundle: Path

    @property
    def bin(self) -> Path:
        """Where the environment's commands lie."""
        return self.folder / "env" / "bin"

    def run(self, *command: object) -> str:
        """What a command of the environment says on stdout; it ends this script if it fails."""
        program, *arguments = map(str, command)
        done = subprocess.run(
            [str(self.bin / program), *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            env=environment(),
        )
        if done.returncode != 0:
            said = f"{done.stdout[-2000:]}{done.stderr[-2000:]}"
            raise SystemExit(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{said}")
        return done.stdout


def environment() -> dict[str, str]:
    """This process's, without what would bring packages from elsewhere."""
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return {**kept, "PYTHONNOUSERSITE": "1"}


def base(place: Place) -> None:
    """The runtime: files, seals, golden pictures, one part."""
    place.run("lineside", "verify", place.bundle, "--engine", "openvino")
    place.run("lineside", "inspect", place.bundle, place.bundle / "golden" / "0.png", "--json")


def onnxruntime(place: Place) -> None:
    """The other engine."""
    place.run("lineside", "verify", place.bundle, "--engine", "onnxruntime")


def neighbours(place: Place) -> None:
    """Parts are indexed and found."""
    golden = place.bundle / "golden"
    place.run("lineside", "index", place.bundle, "--images", golden, "--store", "store")
    place.run("lineside", "search", place.bundle, golden / "0.png", "--store", "store")


def app(place: Place) -> None:
    """A station starts, judges, answers and ends."""
    (place.folder / "in").mkdir()
    config = place.folder / "station.toml"
    config.write_text(
        f'bundles = ["{place.bundle}"]\n[[sources]]\nname = "a"\nwatch = "in"\n[page]\nport = 0\n'
    )
    place.run("lineside", "doctor", "--station", config)
    command = [str(place.bin / "lineside"), "station", str(config)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=place.folder, env=environment()
    ) as station:
        try:
            assert station.stdout is not None
            url = station.stdout.readline().strip().removesuffix("line")
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(f"{url}readyz", timeout=_START_S) as answer:
                assert answer.status == 200, answer.status
        finally:
            station.send_signal(signal.SIGTERM)
        if station.wait(_START_S) != 0:
            raise SystemExit(f"station: exit code {station.returncode}")


def mqtt(place: Place) -> None:
    """The output to a broker is there."""
    place.run("python", "-P", "-c", "import paho.mqtt.client, edge_app.outputs.mqtt")


def drawn(place: Place) -> tuple[object, ...]:
    """Options that name parts, which are drawn first."""
    few = ("--train", 12, "--test-good", 2, "--per-defect", 1, "--size", 128)
    place.run("lineside", "sample-data", "parts", "--category", "tile", *few)
    return "--data", "parts", "--category", "tile"


def calibrate(place: Place) -> None:
    """A report of a bundle."""
    place.run("lineside", "report", place.bundle, *drawn(place), "--out", "report.html")


def train(place: Place) -> None:
    """Parts are learned and judged."""
    data = (*drawn(place), "--size", 128)
    place.run("lineside", "train", "--model", "patchcore", *data, "--out", "tile")
    place.run("lineside", "verify", "tile")


def ray(place: Place) -> None:
    """Pictures are inspected by a worker of a Ray that is started and ended."""
    which = (place.bundle, place.bundle / "golden", "--out", "results")
    place.run("lineside", "archive", *which, "--ray", "local", "--workers", 1)


EXTRAS: dict[str, Callable[[Place], None]] = {
    one.__name__: one for one in (base, onnxruntime, neighbours, app, mqtt, calibrate, train, ray)
}


def install(place: Place, extra: str, wheel: Path, *, lowest: bool) -> None:
    """The wheel and what it needs, into an environment that is new."""
    pip = ("python", "-m", "pip", "install", "--quiet")
    if not lowest:
        place.run(*pip, str(wheel) if extra == "base" else f"{wheel}[{extra}]")
        return
    oldest = place.folder / "oldest.txt"
    which = () if extra == "base" else ("--extra", extra)
    how = ("--resolution", "lowest-direct", "--python", str(place.bin / "python"))
    command = (UV, "pip", "compile", "--quiet", *how, *which, "pyproject.toml", "-o", str(oldest))
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    place.run(*pip, "--requirement", oldest)
    place.run(*pip, "--no-deps", wheel)


def tried(extra: str, wheel: Path, bundle: Path, *, lowest: bool) -> str:
    """Install an extra into a clean environment, let it work, and tell what it took."""
    with tempfile.TemporaryDirectory(prefix=f"lineside-{extra}-") as name:
        place = Place(Path(name), bundle)
        start = time.monotonic()
        venv.create(place.folder / "env", with_pip=True)
        install(place, extra, wheel, lowest=lowest)
        installed = time.monotonic()
        place.run("python", "-m", "pip", "check")
        version = place.run("lineside", "--version").split()[-1]
        assert f"-{version}-" in wheel.name, (version, wheel)
        place.run("lineside", "doctor")
        EXTRAS[extra](place)
        worked = time.monotonic()
        size = sum(
            path.lstat().st_size for path in (place.folder / "env").rglob("*") if path.is_file()
        )
        packages = len(place.run("python", "-m", "pip", "list", "--format=freeze").splitlines())
    return (
        f"{extra:<12} ok  {version}  {packages:3d} packages  {size / 1e6:7.0f} MB  "
        f"installed in {installed - start:4.0f} s, tried in {worked - installed:4.0f} s"
    )


def main() -> None:
    """Build the wheel if none is named, and try every extra that is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("extras", nargs="*", choices=[*EXTRAS, []], metavar="EXTRA")
    parser.add_argument("--wheel", type=Path, help="built from this folder if left out")
    parser.add_argument("--lowest", action="store_true", help="oldest versions that are allowed")
    chosen = parser.parse_args()
    from tests.runtime.tiny import write_bundle

    with tempfile.TemporaryDirectory(prefix="lineside-wheel-") as name:
        folder = Path(name)
        wheel = chosen.wheel
        if wheel is None:
            build = ["-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)]
            subprocess.run([sys.executable, *build], check=True, stdout=subprocess.DEVNULL)
            (wheel,) = folder.glob("*.whl")
        bundle = write_bundle(folder / "tile-tiny")
        for extra in chosen.extras or [extra for extra in EXTRAS if extra != "train"]:
            print(tried(extra, wheel.resolve(), bundle, lowest=chosen.lowest), flush=True)


if __name__ == "__main__":
    main()
