"""One, two, five and ten good parts: what a model of so few is worth.

    python -m benchmarks.few_parts --data bottle --data mtd --out few.jsonl
    python -m benchmarks.few_parts --read few.jsonl

Each draw takes some good parts at random, learns them with PatchCore as ``lineside train`` does,
sets the threshold, and judges parts that are the same for every draw of a folder: up to ``--most``
good ones and as many bad ones. AnomalyDINO (Damm et al., WACV 2025; ViT-S, 448 pixels, turned
copies) reports a mean image AUROC of 0.966 on MVTec AD from one good part. Rows that ``--out``
holds already are not measured again.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from calibration.learning.copies import stand_in
from calibration.learning.photographs import Photographs
from calibration.metrics import image_auroc
from calibration.threshold_rules import first_threshold
from export.anomalib_engine import to_batch
from export.backbones.layers import DINOV2_SMALL
from export.models.patchcore.model import LinesidePatchcore
from export.models.patchcore.recipe import PatchCoreRecipe
from export.training import train as fit
from runtime.images.dataset import load_category
from runtime.images.preprocess import load_image
from runtime.progress import track
from runtime.types import Floats, UInt8Image

Maps = list[dict[str, torch.Tensor]]

BASE = PatchCoreRecipe()
SEES = replace(BASE, backbone=DINOV2_SMALL, size_hw=(448, 448))
RECIPES = {
    "lite0 256": BASE,
    "lite0 256, flip": replace(BASE, augment="flip"),
    "lite0 256, rotate": replace(BASE, augment="rotate"),
    "DINOv2 448": SEES,
    "DINOv2 448, rotate": replace(SEES, augment="rotate"),
}
PARTS = (1, 2, 5, 10)


def pooled(model: LinesidePatchcore, pictures: Iterable[UInt8Image]) -> Maps:
    """What the backbone says of pictures; it is the same for every draw."""
    return [model.model.pooled(model.pre_processor(to_batch(one))) for one in pictures]


def scores(model: LinesidePatchcore, maps: Maps) -> Floats:
    """Raw scores (n,)."""
    inner = model.model
    patches = (inner.reshape_embedding(inner.generate_embedding(one)) for one in maps)
    return np.array([inner.score(one)[0] for one in patches])


def rows(
    root: Path, name: str, wanted: list[tuple[int, int]], most: int
) -> Iterator[dict[str, Any]]:
    """A row for each number of parts and draw that is wanted."""
    recipe, category, rng = RECIPES[name], load_category(root), np.random.default_rng(0)

    def some(paths: list[Path]) -> list[Path]:
        return [paths[place] for place in rng.permutation(len(paths))[:most]]

    def shown(paths: list[Path]) -> Iterator[UInt8Image]:
        return (load_image(path, recipe.size_hw) for path in track(paths, "pictures"))

    bad = some([part.path for part in category.test if part.is_anomalous])
    good = some([part.path for part in category.test if not part.is_anomalous])
    known: tuple[Maps, Maps] | None = None
    for parts, draw in wanted:
        order = np.random.default_rng(draw).permutation(len(category.train_good))
        learned = tuple(category.train_good[place] for place in order[:parts])
        alone = learned if parts == 1 else ()
        trained = fit(recipe, Photographs(learned, alone, (), ""), draw)
        model = trained.model
        if not isinstance(model, LinesidePatchcore):
            raise TypeError("expected PatchCore")
        if known is None:
            known = pooled(model, shown(good)), pooled(model, shown(bad))
        right, wrong = (scores(model, maps) for maps in known)
        if trained.left_out is None:
            others = (stand_in(one, recipe.augment) for one in shown(list(learned)))
            own = scores(model, pooled(model, others))
        else:
            own = trained.left_out.scores
        limit = first_threshold(own, own, left_out=parts > 1).image_threshold
        labels = np.repeat([False, True], [len(right), len(wrong)])
        yield {
            "parts": parts,
            "draw": draw,
            "auroc": image_auroc(labels, np.concatenate([right, wrong])),
            "stopped": int((right > limit).sum()),
            "good": len(right),
            "passed": int((wrong <= limit).sum()),
            "bad": len(wrong),
        }


def show(found: list[dict[str, Any]]) -> None:
    """Means over the draws, and the spread of image AUROC."""
    groups: dict[tuple[str, str, int], list[dict[str, Any]]] = defaultdict(list)
    for row in found:
        groups[row["folder"], row["recipe"], row["parts"]].append(row)
    table = Table(box=None)
    for name in ("folder", "recipe", "parts", "draws", "image AUROC", "good stopped", "bad passed"):
        table.add_column(name)
    for (folder, recipe, parts), own in sorted(groups.items()):
        auroc = [row["auroc"] for row in own]
        table.add_row(
            folder,
            recipe,
            str(parts),
            str(len(own)),
            f"{np.mean(auroc):.3f} ± {np.std(auroc):.3f}",
            f"{np.mean([row['stopped'] for row in own]):.1f} of {own[0]['good']}",
            f"{np.mean([row['passed'] for row in own]):.1f} of {own[0]['bad']}",
        )
    Console(width=120).print(table)


@click.command(help=__doc__)
@click.option("--data", type=click.Path(path_type=Path, exists=True), multiple=True)
@click.option("--recipe", "names", multiple=True, type=click.Choice(list(RECIPES)))
@click.option("--parts", "counts", multiple=True, type=int, help="Good parts.  [default: 1 2 5 10]")
@click.option("--draws", type=int, default=5, show_default=True)
@click.option("--most", type=int, default=100, show_default=True, help="Of each kind, to judge.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("few_parts.jsonl"))
@click.option("--read", type=click.Path(path_type=Path, exists=True), help="Measure nothing.")
def main(
    data: tuple[Path, ...],
    names: tuple[str, ...],
    counts: tuple[int, ...],
    draws: int,
    most: int,
    out: Path,
    read: Path | None,
) -> None:
    """Measure, or show what was measured."""
    lines = out.read_text().splitlines() if out.exists() else []
    done = [json.loads(line) for line in lines]
    known = {(row["folder"], row["recipe"], row["parts"], row["draw"]) for row in done}
    every = [(parts, draw) for parts in counts or PARTS for draw in range(draws)]
    for root in () if read else data:
        for name in names or RECIPES:
            wanted = [one for one in every if (root.name, name, *one) not in known]
            for row in rows(root, name, wanted, most):
                with out.open("a") as file:
                    file.write(json.dumps({"folder": root.name, "recipe": name, **row}) + "\n")
    show([json.loads(line) for line in (read or out).read_text().splitlines()])


if __name__ == "__main__":
    main()
