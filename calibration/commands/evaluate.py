"""``lineside evaluate``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runtime.options import engine_options, json_option

if TYPE_CHECKING:
    from rich.table import Table


@click.command()
@click.argument(
    "bundles", nargs=-1, required=True, metavar="BUNDLE...", type=click.Path(path_type=Path)
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    help="MVTec-style root, or one category's folder: test/good, test/<defect>, "
    "ground_truth/<defect>.",
)
@click.option("--category", help="Category below --data.  [default: the bundle's own]")
@engine_options
@json_option
def command(
    bundles: tuple[Path, ...], data: Path, category: str | None, as_json: bool, **engine: Any
) -> None:
    """Measure bundles on labeled test parts: AUROC, F1, overlap with defects, errors.

    Every part goes through the exported model and the threshold in force, as on the line. Several
    bundles make one row each and an average per model. Undefined figures (no good part, no mask)
    are shown as "-" and are null in JSON. Best misses are those of the best threshold with the same
    number of false rejects, which only labels tell.

    \b
    Example:
      lineside evaluate tile-patchcore tile-efficientad --data parts
      lineside evaluate tile-patchcore --data parts --category tile --json
    """
    from runtime.errors import require_extra

    require_extra("calibrate", "sklearn", "scipy")
    from calibration.evaluation import evaluate_bundle
    from calibration.figures import averages
    from runtime.console import emit_json, wide_console

    rows: list[dict[str, Any]] = []
    for path in bundles:
        rows.append(evaluate_bundle(path, data, category, **engine).to_json())
        if as_json:
            # At once, so that a long run shows its results as they come.
            emit_json(rows[-1])
    means = averages(rows)
    if as_json:
        for row in means:
            emit_json(row)
        return
    console = wide_console()
    console.print(_overview([*rows, *means]))
    for row in rows:
        if row["defects"]:
            console.print(_defects(row))


def _overview(rows: Sequence[dict[str, Any]]) -> Table:
    from rich.table import Table

    from runtime.console import figure

    table = Table(box=None, pad_edge=False)
    for name in ("model", "category", "variant"):
        table.add_column(name, no_wrap=True)
    for name in (
        *("good", "anomalous", "image AUROC", "95 %", "F1 max", "pixel AUROC", "AUPRO", "AUPRO 5%"),
        *("false rejects", "misses", "best misses", "cannot judge", "p50 ms"),
    ):
        table.add_column(name, justify="right")
    for row in rows:
        average = "bundle" not in row
        interval = ("image_auroc_low", "image_auroc_high")
        table.add_row(
            row["model"],
            row["category"],
            f"{row['engine']}/{row['precision']}",
            str(row["n_good"]),
            str(row["n_anomalous"]),
            figure(row["image_auroc"]),
            "" if average else "-".join(figure(row[name]) for name in interval),
            figure(row["image_f1_max"]),
            figure(row["pixel_auroc"]),
            figure(row["aupro"]),
            figure(row["aupro_05"]),
            str(row["false_rejects"]),
            str(row["misses"]),
            str(row["best_misses"]),
            str(row["n_cannot_judge"]),
            "" if average else figure(row["p50_latency_ms"], 1),
            style="bold" if average else "",
        )
    return table


def _defects(row: dict[str, Any]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from runtime.console import figure

    title = Text(
        f"{row['bundle']} by defect, at threshold {row['image_threshold']:.4g}", no_wrap=True
    )
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, min_width=len(title))
    table.add_column("defect", no_wrap=True)
    for name in ("parts", "image AUROC", "misses"):
        table.add_column(name, justify="right")
    for one in row["defects"]:
        table.add_row(
            one["defect_type"],
            str(one["n_anomalous"]),
            figure(one["image_auroc"]),
            str(one["misses"]),
        )
    return table
