"""Does the default threshold keep its promise, and what does it pass? Over random splits.

    python -m benchmarks.operating_point --data ROOT --category bottle --train 25 --splits 10
    python -m benchmarks.operating_point --data ROOT --backbone vit_small_patch14_dinov2.lvd142m \
        --size 252

Each split shuffles all good parts, learns some of them with PatchCore, sets the threshold from
their left-out scores, and judges the others and all bad parts. *Best* is what the best threshold
with as many false rejects would pass: the regret of the threshold, not of the model.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from calibration.learning.photographs import Photographs
from calibration.metrics import image_auroc
from calibration.threshold_rules import MAX_FALSE_REJECTS, first_threshold
from export.anomalib_engine import to_batch
from export.models.patchcore.recipe import PatchCoreRecipe
from export.training import train as fit
from runtime.images.dataset import load_category
from runtime.images.preprocess import load_image
from runtime.progress import track
from runtime.types import Floats


@dataclass(frozen=True)
class Outcome:
    """One split: what the default threshold rejected and passed."""

    auroc: float
    good: int
    rejected: int
    bad: int
    passed: int
    best: int
    passed_at_promise: int

    @property
    def is_near_best(self) -> bool:
        """At most 1.2 times the best, plus one part."""
        return self.passed <= 1.2 * self.best + 1


def measure(
    good: list[Path], bad: list[Path], recipe: PatchCoreRecipe, train: int, rate: float, seed: int
) -> Outcome:
    """Learn one random split and judge the rest."""
    order = np.random.default_rng(seed).permutation(len(good))
    learned = tuple(good[place] for place in order[:train])
    trained = fit(recipe, Photographs(learned, (), (), ""), seed)
    model, left_out = trained.model, trained.left_out
    if left_out is None:
        raise RuntimeError("expected left-out scores of parts that were all learned")
    threshold = first_threshold(left_out.scores, left_out.scores, rate, left_out=True)
    scored = scores(model, [good[place] for place in order[train:]], recipe)
    wrong = scores(model, bad, recipe)
    rejected = int((scored > threshold.image_threshold).sum())
    # The lowest threshold that rejects as many; and the one that rejects just the promised share.
    descending = np.sort(scored)[::-1]
    best = descending[rejected] if rejected < len(descending) else -np.inf
    allowed = descending[min(int(rate * len(descending)), len(descending) - 1)]
    labels = np.repeat([False, True], [len(scored), len(wrong)])
    return Outcome(
        auroc=image_auroc(labels, np.concatenate([scored, wrong])),
        good=len(scored),
        rejected=rejected,
        bad=len(wrong),
        passed=int((wrong <= threshold.image_threshold).sum()),
        best=int((wrong <= best).sum()),
        passed_at_promise=int((wrong <= allowed).sum()),
    )


def scores(model: nn.Module, paths: list[Path], recipe: PatchCoreRecipe) -> Floats:
    """Raw scores of pictures, (n,)."""
    found = []
    with torch.no_grad():
        for path in track(paths, "judging"):
            batch = to_batch(load_image(path, recipe.size_hw))
            found.append(float(model(batch).pred_score))
    return np.array(found)


def summary(outcomes: list[Outcome], rate: float) -> dict[str, Any]:
    """Means over the splits."""
    rates = [one.rejected / one.good for one in outcomes]
    return {
        "splits": len(outcomes),
        "image_auroc": float(np.mean([one.auroc for one in outcomes])),
        "promised": rate,
        "rejected_mean": float(np.mean(rates)),
        "rejected_most": max(rates),
        "bad": outcomes[0].bad,
        "passed": float(np.mean([one.passed for one in outcomes])),
        "best": float(np.mean([one.best for one in outcomes])),
        "passed_at_promise": float(np.mean([one.passed_at_promise for one in outcomes])),
        "near_best": sum(one.is_near_best for one in outcomes),
    }


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--category")
@click.option("--train", type=int, default=0, help="Parts to learn.  [default: four of five]")
@click.option("--splits", type=int, default=10, show_default=True)
@click.option("--backbone", default="")
@click.option("--size", type=int, default=256, show_default=True)
@click.option("--max-false-rejects", type=float, default=MAX_FALSE_REJECTS, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(
    data: Path,
    category: str | None,
    train: int,
    splits: int,
    backbone: str,
    size: int,
    max_false_rejects: float,
    as_json: bool,
) -> None:
    """Judge random splits of a labeled folder with the default threshold."""
    parts = load_category(data, category)
    good = [*parts.train_good, *(part.path for part in parts.test if not part.is_anomalous)]
    bad = [part.path for part in parts.test if part.is_anomalous]
    recipe = PatchCoreRecipe(size_hw=(size, size))
    if backbone:
        recipe = replace(recipe, backbone=backbone)
    count = train or len(good) * 4 // 5
    outcomes = []
    for split in range(splits):
        outcomes.append(measure(good, bad, recipe, count, max_false_rejects, split))
        click.echo(json.dumps({"split": split, **asdict(outcomes[-1])}), err=True)
    found = {"category": parts.name, "train": count, **summary(outcomes, max_false_rejects)}
    if as_json:
        click.echo(json.dumps(found))
        return
    table = Table(box=None)
    for name in found:
        table.add_column(name.replace("_", " "), justify="right")
    table.add_row(*(f"{one:.4g}" if isinstance(one, float) else str(one) for one in found.values()))
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
