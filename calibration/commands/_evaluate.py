"""The work behind ``lineside evaluate``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from calibration.evaluate import evaluate, find_category
from calibration.evaluation import Evaluation, averages
from runtime.bundle.folder import Bundle
from runtime.console import emit_json, figure, wide_console
from runtime.inspector import Inspector


def run(
    bundles: Sequence[Path],
    data: Path,
    category: str | None,
    engine: dict[str, Any],
    *,
    as_json: bool,
) -> None:
    """Evaluate and print."""
    rows: list[dict[str, Any]] = []
    for path in bundles:
        row = evaluate_bundle(path, data, category, engine).to_json()
        rows.append(row)
        if as_json:
            # At once, so that a long run shows its results as they come.
            emit_json(row)
    for row in averages(tuple(rows)):
        rows.append(row)
        if as_json:
            emit_json(row)
    if not as_json:
        console = wide_console()
        console.print(_overview(rows))
        for row in rows:
            if row.get("defects"):
                console.print(_defects(row))


def evaluate_bundle(
    path: Path, data: Path, category: str | None, engine: dict[str, Any]
) -> Evaluation:
    """Open a bundle, find its test parts and evaluate it.

    Args:
        path: a bundle folder or ``.lineside`` file.
        data: MVTec-style root or one category's folder.
        category: the user's choice, or None.
        engine: keyword arguments of :class:`runtime.inspector.Inspector`.
    """
    with Bundle.open(path) as bundle:
        found = find_category(data, bundle.manifest.category, category)
        with Inspector(bundle, **engine) as inspector:
            return evaluate(inspector, found)


def _overview(rows: Sequence[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("model", "category", "variant"):
        table.add_column(name, no_wrap=True)
    for name in (
        "good",
        "anomalous",
        "image AUROC",
        "95 %",
        "F1 max",
        "pixel AUROC",
        "AUPRO",
        "false rejects",
        "misses",
        "cannot judge",
        "p50 ms",
    ):
        table.add_column(name, justify="right")
    for row in rows:
        interval = (
            f"{figure(row['image_auroc_low'])}-{figure(row['image_auroc_high'])}"
            if "bundle" in row
            else ""
        )
        latency = figure(row["p50_latency_ms"], 1) if "bundle" in row else ""
        table.add_row(
            row["model"],
            row["category"],
            f"{row['engine']}/{row['precision']}",
            str(row["n_good"]),
            str(row["n_anomalous"]),
            figure(row["image_auroc"]),
            interval,
            figure(row["image_f1_max"]),
            figure(row["pixel_auroc"]),
            figure(row["aupro"]),
            str(row["false_rejects"]),
            str(row["misses"]),
            str(row["n_cannot_judge"]),
            latency,
            style="bold" if row["category"] == "average" else "",
        )
    return table


def _defects(row: dict[str, Any]) -> Table:
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
