"""Parts that lie any way: what ``--augment`` brings, on pictures turned by random angles.

    python -m benchmarks.poses --data parts/tile --data mtd --out rows.jsonl
    python -m benchmarks.poses --data bottle --whole --train 25 --out rows.jsonl
    python -m benchmarks.poses --read rows.jsonl

Each picture is turned by its own random angle around a random place and cut to a square that the
turned picture covers, so no corner is made up. Bad parts are cut around their defect, and those
whose defect is cut off are left out. ``--whole`` turns round parts on a plain background around
their middle, the corners filled with the background. Each split learns some of the good parts and
judges the others and the bad ones with the default threshold (benchmarks/operating_point.py). Rows
that ``--out`` holds already are not measured again.
"""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.operating_point import measure
from calibration.threshold_rules import MAX_FALSE_REJECTS
from export.models.patchcore.recipe import PatchCoreRecipe
from runtime.images.dataset import Part, load_category, load_mask
from runtime.images.preprocess import decode_rgb
from runtime.types import Mask, UInt8Image

AUGMENTS = ("none", "flip", "rotate")
# Side of the square that is cut out, as a share of the picture's shorter side: its corners reach
# as far as the picture when it is turned by 45 degrees around the middle.
SHARE = 0.68
# Of a defect's pixels that the square has to show.
_LEAST_SHOWN = 0.5


def turned(picture: UInt8Image, degrees: float, center_xy: tuple[float, float]) -> UInt8Image:
    """The square around a place, turned."""
    side = int(SHARE * min(picture.shape[:2]))
    turn = cv2.getRotationMatrix2D(center_xy, degrees, 1.0)
    turn[:, 2] += side / 2 - 0.5 - np.array(center_xy)
    found = cv2.warpAffine(picture, turn, (side, side), borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(found, np.uint8)


def posed(picture: UInt8Image, mask: Mask | None, rng: np.random.Generator) -> UInt8Image | None:
    """A picture as it might lie; None where a defect would be cut off."""
    height, width = picture.shape[:2]
    reach = SHARE * min(height, width) / 2**0.5
    degrees = float(rng.uniform(0, 360))
    middle = rng.uniform((reach, reach), (max(width - reach, reach), max(height - reach, reach)))
    if mask is None:
        return turned(picture, degrees, (float(middle[0]), float(middle[1])))
    if not mask.any():
        return None
    rows, columns = np.nonzero(mask)
    least, most = np.array([reach, reach]), np.array([width, height]) - reach
    middle = np.clip([columns.mean(), rows.mean()], least, np.maximum(most, least))
    center = (float(middle[0]), float(middle[1]))
    shown = (turned(mask.astype(np.uint8), degrees, center) > 0).sum()
    return turned(picture, degrees, center) if shown > _LEAST_SHOWN * mask.sum() else None


def whole(picture: UInt8Image, rng: np.random.Generator) -> UInt8Image:
    """A round part turned around its middle."""
    height, width = picture.shape[:2]
    center = ((width - 1) / 2, (height - 1) / 2)
    turn = cv2.getRotationMatrix2D(center, float(rng.uniform(0, 360)), 1.0)
    found = cv2.warpAffine(picture, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found, np.uint8)


def write_posed(parts: list[Part], out: Path, *, is_whole: bool, most: int) -> list[Path]:
    """Turn pictures, the first ``most`` of a random order, and write them as PNG."""
    rng = np.random.default_rng(0)
    out.mkdir(parents=True)
    found: list[Path] = []
    for place in rng.permutation(len(parts)):
        part = parts[place]
        own = decode_rgb(part.path)
        mask = load_mask(part, own.shape[:2]) if part.is_anomalous and not is_whole else None
        picture = whole(own, rng) if is_whole else posed(own, mask, rng)
        if picture is not None:
            found.append(out / f"{len(found):04}.png")
            cv2.imwrite(str(found[-1]), picture[:, :, ::-1])
        if len(found) == most:
            break
    return found


def rows(
    root: Path, train: int, most: int, wanted: list[tuple[int, str]], *, is_whole: bool
) -> Iterator[dict[str, Any]]:
    """A row for each split and kind of copies that is wanted."""
    category = load_category(root)
    good = [Part(path, "good", None) for path in category.train_good]
    good += [part for part in category.test if not part.is_anomalous]
    bad = [part for part in category.test if part.is_anomalous]
    with tempfile.TemporaryDirectory(prefix="lineside-poses-") as folder:
        shown = write_posed(good, Path(folder, "good"), is_whole=is_whole, most=train + most)
        wrong = write_posed(bad, Path(folder, "bad"), is_whole=is_whole, most=most)
        for split, augment in wanted:
            recipe = replace(PatchCoreRecipe(), augment=augment)
            found = measure(shown, wrong, recipe, train, MAX_FALSE_REJECTS, split)
            yield {"augment": augment, "split": split, **asdict(found)}


def show(found: list[dict[str, Any]]) -> None:
    """Means over the splits, and the spread of image AUROC."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in found:
        groups[row["folder"], row["augment"]].append(row)
    table = Table(box=None)
    for name in (
        "folder",
        "augment",
        "splits",
        "image AUROC",
        "good stopped",
        "bad passed",
        "best",
    ):
        table.add_column(name)
    for (folder, augment), own in groups.items():
        auroc = [row["auroc"] for row in own]
        mean = {key: np.mean([row[key] for row in own]) for key in ("rejected", "passed", "best")}
        table.add_row(
            folder,
            augment,
            str(len(own)),
            f"{np.mean(auroc):.3f} ± {np.std(auroc):.3f}",
            f"{mean['rejected']:.1f} of {own[0]['good']}",
            f"{mean['passed']:.1f} of {own[0]['bad']}",
            f"{mean['best']:.1f}",
        )
    Console(width=120).print(table)


@click.command(help=__doc__)
@click.option("--data", type=click.Path(path_type=Path, exists=True), multiple=True)
@click.option("--train", type=int, default=40, show_default=True, help="Good parts to learn.")
@click.option("--most", type=int, default=80, show_default=True, help="Of each kind, to judge.")
@click.option("--splits", type=int, default=3, show_default=True)
@click.option("--augment", "augments", multiple=True, type=click.Choice(AUGMENTS))
@click.option("--whole", "is_whole", is_flag=True, help="Round parts on a plain background.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("poses.jsonl"))
@click.option("--read", type=click.Path(path_type=Path, exists=True), help="Measure nothing.")
def main(
    data: tuple[Path, ...],
    train: int,
    most: int,
    splits: int,
    augments: tuple[str, ...],
    is_whole: bool,
    out: Path,
    read: Path | None,
) -> None:
    """Measure, or show what was measured."""
    lines = out.read_text().splitlines() if out.exists() else []
    known = {(row["folder"], row["split"], row["augment"]) for row in map(json.loads, lines)}
    for root in () if read else data:
        every = [(split, one) for split in range(splits) for one in augments or AUGMENTS]
        wanted = [one for one in every if (root.name, *one) not in known]
        for row in rows(root, train, most, wanted, is_whole=is_whole) if wanted else ():
            with out.open("a") as file:
                file.write(json.dumps({"folder": root.name, **row}) + "\n")
    show([json.loads(line) for line in (read or out).read_text().splitlines()])


if __name__ == "__main__":
    main()
