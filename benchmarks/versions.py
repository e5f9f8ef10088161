"""Neighbors over a change of versions: the share that is defective, for every defective new part.

    python -m benchmarks.versions BASE --data ROOT [--category bottle]

BASE is a PatchCore bundle of another part. A first version learns half of the category's good
parts, at most a hundred, and every other test part comes while it judges. Then a second version
goes live: *taught* anew from all good parts, or *grown*, the first one with the other half beside
what it knows. The test parts that come then look for their five nearest among those before: as the
first version finds them, in the records as a second version used to begin them (none), among the
old descriptors as they are, and among the earlier parts described once more.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np

from calibration.teaching.feedback import teach_from_feedback
from calibration.teaching.teach import teach
from runtime.images.dataset import Part, load_category
from runtime.inspector import Inspector
from runtime.progress import track
from runtime.types import Float32

K, MOST = 5, 200


@click.command()
@click.argument("base", type=click.Path(path_type=Path, exists=True))
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--category", help="Below --data.")
def main(base: Path, data: Path, category: str | None) -> None:
    """Print one JSON object for each second version."""
    parts = load_category(data, category)
    good = parts.train_good[:MOST]
    before, after = parts.test[::2], parts.test[1::2]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        teach(base, linked(good[::2], folder / "half"), folder / "first", parts.name)
        old = [described(folder / "first", one) for one in (before, after)]
        teach(base, linked(good, folder / "all"), folder / "taught", parts.name)
        more = linked(good[1::2], folder / "more")
        teach_from_feedback(folder / "first", None, folder / "grown", good=more)
        for how in ("taught", "grown"):
            new = [described(folder / how, one) for one in (before, after)]
            found = {
                "first version": nearest(old[1], old[0], before, after),
                "old descriptors kept": nearest(new[1], old[0], before, after),
                "described once more": nearest(new[1], new[0], before, after),
            }
            print(json.dumps({"second version": how, "parts": len(before), **found}), flush=True)


def linked(paths: Sequence[Path], folder: Path) -> Path:
    """A folder of these pictures."""
    folder.mkdir()
    for index, path in enumerate(paths):
        (folder / f"{index:05}{path.suffix}").symlink_to(path.absolute())
    return folder


def described(bundle: Path, parts: Sequence[Part]) -> Float32:
    """What a bundle says of parts, float32 (n, D)."""
    with Inspector(bundle) as inspector:
        return np.stack(
            [inspector.inspect(one.path).embedding for one in track(parts, bundle.name)]
        )


def nearest(
    queries: Float32,
    known: Float32,
    before: Sequence[Part],
    after: Sequence[Part],
) -> dict[str, float]:
    """Shares of the defective parts' neighbors: defective ones, and of the same kind."""
    bad = np.array([one.is_anomalous for one in after])
    kinds = np.array([one.defect_type for one in before])
    is_bad = np.array([one.is_anomalous for one in before])
    wanted = np.array([one.defect_type for one in after])[bad]
    places = np.argsort(-(queries[bad] @ known.T), axis=1)[:, :K]
    return {
        "defective": round(float(is_bad[places].mean()), 3),
        "same kind": round(float((kinds[places] == wanted[:, None]).mean()), 3),
    }


if __name__ == "__main__":
    main()
