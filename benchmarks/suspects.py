"""Bad parts among good ones that are to be taught: how many ``teach --look`` finds.

    python -m benchmarks.suspects BASE --data ROOT [--category bottle] [--bad 8] [--good 100]

BASE is a PatchCore bundle, of whatever part. Each draw mixes test parts with defects into good
parts to learn from, at random, and looks at them all. Printed are how many bad ones are marked as
suspects, how many good ones are, and how many bad ones are among the 8 and the 16 that are most
unlike the others, which come first on the page.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import click
import numpy as np

from calibration.teaching.looking import look_at
from runtime.images.dataset import load_category


@click.command()
@click.argument("base", type=click.Path(path_type=Path, exists=True))
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--category", help="Below --data.")
@click.option("--bad", default=8, show_default=True, help="Bad parts in a draw.")
@click.option("--good", default=100, show_default=True, help="Good parts, or as many as there are.")
@click.option("--draws", default=3, show_default=True)
def main(base: Path, data: Path, category: str | None, bad: int, good: int, draws: int) -> None:
    """Print one JSON object for each draw."""
    parts = load_category(data, category)
    defective = [one.path for one in parts.test if one.is_anomalous]
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        chosen = [parts.train_good[at] for at in rng.permutation(len(parts.train_good))[:good]]
        wrong = [defective[at] for at in rng.permutation(len(defective))[:bad]]
        # Mixed, so that their order tells nothing.
        mixed = [(path, path in wrong) for path in (*chosen, *wrong)]
        with tempfile.TemporaryDirectory() as name:
            names = {}
            for number, at in enumerate(rng.permutation(len(mixed))):
                path, is_bad = mixed[at]
                link = Path(name) / f"{number:04}{path.suffix}"
                link.symlink_to(path.absolute())
                names[link.name] = is_bad
            found = look_at(base, Path(name), seed=seed).pictures
        first = sorted(found, key=lambda one: -(one.apart or 0.0))
        print(
            json.dumps(
                {
                    "draw": seed,
                    "good": len(chosen),
                    "bad": len(wrong),
                    "bad marked": sum(one.suspect and names[one.name] for one in found),
                    "good marked": sum(one.suspect and not names[one.name] for one in found),
                    "bad in the first 8": sum(names[one.name] for one in first[:8]),
                    "bad in the first 16": sum(names[one.name] for one in first[:16]),
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
