"""A bundle taught on the box beside one trained with torch on the same good pictures.

    python -m benchmarks.teaching BASE --data ROOT [--category bottle] [--trained BUNDLE]

BASE is a PatchCore bundle of another part. Both bundles judge the category's test parts. Neighbors:
the share of defective parts among the five nearest descriptors of every defective test part, and
the share with its own kind of defect. Teaching runs in a process of its own, so that its memory can
be told, with the number of threads that it is given.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np

from calibration.evaluation import evaluate
from export.models.patchcore.recipe import PatchCoreRecipe
from export.training import train_bundle
from runtime.bundle.folder import Bundle
from runtime.images.dataset import Category, load_category
from runtime.inspector import Inspector
from runtime.progress import track

K = 5
# Teaches, and says how long it took, its own share of the processor, and its peak of memory.
APART = """
import json, resource, sys, time
from pathlib import Path
from calibration.teaching.teach import teach
start = time.process_time()
found = teach(*map(Path, sys.argv[1:4]), sys.argv[4])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
if Path("/proc/self/status").exists():
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(one.split()[1]) for one in lines if one.startswith("VmHWM")) / 1024
print(json.dumps({**found.to_json(), "cpu_seconds": time.process_time() - start, "peak_mib": peak}))
"""


@click.command()
@click.argument("base", type=click.Path(path_type=Path, exists=True))
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--category", help="Below --data.")
@click.option(
    "--trained",
    type=click.Path(path_type=Path, exists=True),
    help="A bundle trained before on the same pictures.",
)
@click.option("--threads", default=2, show_default=True, help="Of NumPy.")
def main(base: Path, data: Path, category: str | None, trained: Path | None, threads: int) -> None:
    """Print one JSON object for each of the two bundles."""
    parts = load_category(data, category)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if trained is None:
            trained = folder / "trained"
            with Bundle.open(base) as bundle:
                size_hw = bundle.manifest.input.size_hw
            train_bundle(PatchCoreRecipe(size_hw=size_hw), data, trained, category)
        good = folder / "good"
        good.mkdir()
        for index, path in enumerate(parts.train_good):
            (good / f"{index:05}{path.suffix}").symlink_to(path.absolute())
        taught = folder / "taught"
        cost = taught_apart(base, good, taught, parts.name, threads)
        for how, bundle, more in (("trained", trained, {}), ("taught", taught, cost)):
            print(json.dumps({"bundle": how, **judged(bundle, parts), **more}))


def taught_apart(base: Path, good: Path, out: Path, name: str, threads: int) -> dict[str, Any]:
    """Teach in a fresh process; seconds, and MiB of memory at most."""
    done = subprocess.run(
        [sys.executable, "-c", APART, *map(str, (base, good, out)), name],
        env={**os.environ, "OPENBLAS_NUM_THREADS": str(threads)},
        check=True,
        capture_output=True,
        text=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    return {key: found[key] for key in ("n_good", "seconds", "cpu_seconds", "peak_mib")}


def judged(bundle: Path, parts: Category) -> dict[str, Any]:
    """What a bundle is worth on the test parts."""
    with Inspector(bundle) as inspector:
        found = evaluate(inspector, parts).to_json()
        descriptors = [
            inspector.inspect(part.path).embedding for part in track(parts.test, "descriptors")
        ]
    kinds = np.array([part.defect_type for part in parts.test])
    bad = np.array([part.is_anomalous for part in parts.test])
    alike = np.stack(descriptors) @ np.stack(descriptors).T
    np.fill_diagonal(alike, -np.inf)
    nearest = np.argsort(-alike[bad], axis=1)[:, :K]
    return {
        "image_auroc": found["image_auroc"],
        "pixel_auroc": found["pixel_auroc"],
        "false_rejects": found["false_rejects"],
        "misses": found["misses"],
        "neighbors_defective": float(bad[nearest].mean()),
        "neighbors_same_kind": float((kinds[nearest] == kinds[bad][:, None]).mean()),
    }


if __name__ == "__main__":
    main()
