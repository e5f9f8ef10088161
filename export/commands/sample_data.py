"""``lineside sample-data``."""

from __future__ import annotations

from pathlib import Path

import click

from runtime.options import json_option


@click.command("sample-data")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--category",
    type=click.Choice(["tile", "leather", "grid", "all"]),
    default="all",
    show_default=True,
    help="Kind of part.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="The same seed, the same pictures.",
)
@click.option(
    "--train",
    type=click.IntRange(min=1),
    default=60,
    show_default=True,
    help="Good pictures to learn from.",
)
@click.option(
    "--test-good",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="Good pictures to test.",
)
@click.option(
    "--per-defect",
    type=click.IntRange(min=0),
    default=8,
    show_default=True,
    help="Pictures of each defect.",
)
@click.option(
    "--size", type=int, default=512, show_default=True, help="Side of a picture in pixels."
)
@click.option(
    "--overwrite", is_flag=True, help="Replace a folder that was made with other settings."
)
@json_option
def command(
    out: Path,
    category: str,
    seed: int,
    train: int,
    test_good: int,
    per_defect: int,
    size: int,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Draw procedural parts in MVTec AD's layout, to learn from and to test.

    \b
    Example:
      lineside sample-data parts --category tile
      lineside sample-data parts --seed 7 --train 200
    """
    from export.sample_data import CATEGORIES, DEFECTS, write_dataset
    from runtime.console import emit_json, say

    for name in CATEGORIES if category == "all" else (category,):
        written = write_dataset(out, name, seed, train, test_good, per_defect, size, overwrite)
        say(f"{out / name}: {'written' if written else 'already there, unchanged'}")
        if as_json:
            bad = per_defect * len(DEFECTS[name])
            emit_json(
                {
                    "category": name,
                    "path": str(out / name),
                    "written": written,
                    "train_good": train,
                    "test_good": test_good,
                    "test_anomalous": bad,
                }
            )
