"""Do made-up defects choose the right backbone? A ladder of recipes on labeled folders.

    python -m benchmarks.ladder --data parts/tile --data mtd --train 80 --out rows.jsonl
    python -m benchmarks.ladder --read rows.jsonl

Each rung learns the same good parts with PatchCore. What a choice can know of it: the scores of
parts that were left out in turn, and of defects made up on them. What it should choose by: image
AUROC on labeled parts. The second form prints, by criterion, Spearman's rank correlation of the
two on each folder, and how much AUROC its choice loses against the best rung in hindsight.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

from benchmarks.operating_point import scores
from calibration.learning.photographs import Photographs
from calibration.metrics import image_auroc
from calibration.synthetic import STRENGTHS
from export.backbones.layers import DINOV2_SMALL
from export.models.patchcore.recipe import PatchCoreRecipe
from export.training import train as fit
from runtime.images.dataset import load_category
from runtime.types import Floats

BASE = PatchCoreRecipe(max_prototypes=4000)
RUNGS = {
    "lite0 192": replace(BASE, size_hw=(192, 192)),
    "lite0 256": BASE,
    "lite0 384": replace(BASE, size_hw=(384, 384)),
    "lite2 256": replace(BASE, backbone="tf_efficientnet_lite2"),
    "DINOv2 252": replace(BASE, backbone=DINOV2_SMALL, size_hw=(252, 252)),
    "DINOv2 392": replace(BASE, backbone=DINOV2_SMALL, size_hw=(392, 392)),
}


def separation(good: Floats, made_up: Floats) -> float:
    """AUROC of made-up defects against left-out good parts."""
    labels = np.repeat([False, True], [len(good), made_up.size])
    return image_auroc(labels, np.concatenate([good, made_up.ravel()]))


def spreads(good: Floats, made_up: Floats) -> float:
    """How many spreads of good parts' scores the median defect lies above their median."""
    middle = np.median(good)
    return float((np.median(made_up) - middle) / (np.quantile(good, 0.95) - middle))


def _of(*names: str) -> list[int]:
    return [list(STRENGTHS).index(name) for name in names]


CRITERIA: dict[str, Callable[[Floats, Floats], float]] = {
    "AUROC weak": lambda good, bad: separation(good, bad[:, _of("weak")]),
    "AUROC medium": lambda good, bad: separation(good, bad[:, _of("medium")]),
    "AUROC weak, medium": lambda good, bad: separation(good, bad[:, _of("weak", "medium")]),
    "AUROC strong": lambda good, bad: separation(good, bad[:, _of("strong")]),
    "AUROC all": separation,
    "spreads medium": lambda good, bad: spreads(good, bad[:, _of("medium")]),
    "spreads strong": lambda good, bad: spreads(good, bad[:, _of("strong")]),
    "narrow good": lambda good, bad: -float(np.std(good) / np.mean(good)),
}


def measure(root: Path, rung: str, train: int, test: int) -> dict[str, Any]:
    """One rung on one folder."""
    parts, recipe, rng = load_category(root), RUNGS[rung], np.random.default_rng(0)

    def some(paths: list[Path], count: int) -> list[Path]:
        return [paths[place] for place in rng.permutation(len(paths))[:count]]

    learned = some(list(parts.train_good), train)
    good = some([part.path for part in parts.test if not part.is_anomalous], test)
    bad = some([part.path for part in parts.test if part.is_anomalous], test)
    begin = time.perf_counter()
    trained = fit(recipe, Photographs(tuple(learned), (), (), ""), 0)
    seconds = time.perf_counter() - begin
    if trained.left_out is None:
        raise RuntimeError("expected left-out scores of parts that were all learned")
    scored = [scores(trained.model, paths, recipe) for paths in (good, bad)]
    labels = np.repeat([False, True], [len(one) for one in scored])
    return {
        "folder": parts.name,
        "rung": rung,
        "image_auroc": image_auroc(labels, np.concatenate(scored)),
        "seconds": round(seconds, 1),
        "good": trained.left_out.scores.tolist(),
        "made_up": trained.left_out.made_up.tolist(),
    }


def show(rows: list[dict[str, Any]]) -> None:
    """AUROC of every rung; then each criterion's correlation and loss."""
    folders: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        folders[row["folder"]].append(row)
    for title, cells in (
        ("image AUROC", lambda own, rung: f"{own[rung]['image_auroc']:.3f}"),
        ("seconds to learn", lambda own, rung: f"{own[rung]['seconds']:.0f}"),
    ):
        table = Table(title=title, box=None)
        for name in ("folder", *RUNGS):
            table.add_column(name)
        for folder, found in folders.items():
            own = {row["rung"]: row for row in found}
            table.add_row(folder, *(cells(own, rung) if rung in own else "" for rung in RUNGS))
        Console().print(table)
    table = Table(title="criterion: rank correlation / loss of its choice", box=None)
    for name in ("criterion", *folders, "mean"):
        table.add_column(name)
    for name, criterion in CRITERIA.items():
        pairs = [_judged(found, criterion) for found in folders.values()]
        mean = np.nanmean(np.array(pairs), axis=0)
        table.add_row(name, *(f"{one:.2f} / {other:.3f}" for one, other in [*pairs, mean]))
    Console().print(table)


def _judged(
    rows: list[dict[str, Any]], criterion: Callable[[Floats, Floats], float]
) -> tuple[float, float]:
    said = [criterion(np.array(row["good"]), np.array(row["made_up"])) for row in rows]
    true = [row["image_auroc"] for row in rows]
    same = len(set(true)) == 1 or len(set(said)) == 1
    correlation = float("nan") if same else float(spearmanr(said, true).statistic)
    return correlation, max(true) - true[int(np.argmax(said))]


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), multiple=True)
@click.option("--train", type=int, default=80, show_default=True, help="Good parts to learn.")
@click.option("--test", type=int, default=80, show_default=True, help="Of each kind, to judge.")
@click.option("--rung", "rungs", multiple=True, type=click.Choice(list(RUNGS)))
@click.option("--out", type=click.Path(path_type=Path), default=Path("ladder.jsonl"))
@click.option("--read", type=click.Path(path_type=Path, exists=True), help="Measure nothing.")
def main(
    data: tuple[Path, ...],
    train: int,
    test: int,
    rungs: tuple[str, ...],
    out: Path,
    read: Path | None,
) -> None:
    """Learn every rung on every folder, and see what predicts the best one."""
    if read is None:
        read = out
        for rung in rungs or RUNGS:
            for root in data:
                row = measure(root, rung, train, test)
                with out.open("a") as file:
                    file.write(json.dumps(row) + "\n")
    show([json.loads(line) for line in read.read_text().splitlines()])


if __name__ == "__main__":
    main()
