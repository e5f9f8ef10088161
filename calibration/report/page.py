"""The page: evaluations and pictures in, one self-contained HTML file out."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import zip_longest
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from calibration.evaluation import Evaluation, averages
from calibration.metrics import pr_points, roc_points
from calibration.report.charts import curve, histogram
from calibration.report.neighbors import Neighbors
from calibration.report.pictures import Group
from runtime.console import figure, percent

MODEL_NAMES = {"patchcore": "PatchCore", "efficientad": "EfficientAD"}


@dataclass(frozen=True)
class Chapter:
    """One bundle's part of the report.

    Attributes:
        evaluation: of the variant shown in full.
        groups: the gallery.
        neighbours: parts with the five most like them; None where there are too few.
        others: the bundle's other variants, if they were evaluated.
    """

    evaluation: Evaluation
    groups: Sequence[Group]
    neighbors: Neighbors | None
    others: Sequence[Evaluation] = ()


def render(chapters: Sequence[Chapter], data_name: str) -> str:
    """The report as HTML. Everything that came from a file or a folder name is escaped by the template engine.

    Args:
        chapters: at least one.
        data_name: name of the data folder.
    """
    environment = Environment(
        loader=PackageLoader("calibration.report", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(figure=figure, percent=percent)
    rows = [chapter.evaluation.to_json() for chapter in chapters]
    return environment.get_template("report.html.j2").render(
        summary=summary_table(rows),
        rows=rows,
        averages=averages(rows),
        model_names=MODEL_NAMES,
        chapters=[_chapter(chapter) for chapter in chapters],
        data_name=data_name,
        made_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=version("lineside"),
        machine=f"{platform.system()} {platform.machine()}",
    )


def summary_table(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The first page's table: a line for each category, a column for each model, the average last.

    Args:
        rows: objects of :meth:`calibration.evaluation.Evaluation.to_json`.

    Returns:
        ``models`` (column order), ``lines`` (category and a row or None for each model; a category
        with several bundles of one model has several lines) and ``average`` (mean AUROC over the
        bundles of each model).
    """
    present = {row["model"] for row in rows}
    models = [name for name in MODEL_NAMES if name in present] + sorted(
        present - MODEL_NAMES.keys()
    )
    lines = []
    for category in sorted({row["category"] for row in rows}):
        columns = [
            [row for row in rows if (row["category"], row["model"]) == (category, model)]
            for model in models
        ]
        lines += [{"category": category, "cells": cells} for cells in zip_longest(*columns)]
    average = [_mean_auroc([row for row in rows if row["model"] == model]) for model in models]
    return {"models": models, "lines": lines, "average": average}


def _mean_auroc(rows: Sequence[dict[str, Any]]) -> float | None:
    known = [row["image_auroc"] for row in rows if row["image_auroc"] is not None]
    return sum(known) / len(known) if known else None


def _chapter(chapter: Chapter) -> dict[str, Any]:
    one = chapter.evaluation
    found = one.confusion
    manifest = one.manifest
    # Of the parts that got a verdict; the others were shown to a person.
    good, anomalous = found.accepted_good + found.false_rejects, found.hits + found.misses
    recall = found.hits / anomalous if anomalous else float("nan")
    false_rate = found.false_rejects / good if good else float("nan")
    flagged = found.hits + found.false_rejects
    precision = found.hits / flagged if flagged else float("nan")
    roc, pr = roc_points(one.labels, one.scores), pr_points(one.labels, one.scores)
    first = one.to_json()
    return {
        "row": first,
        "confusion": found,
        "recall": recall,
        "false_rate": false_rate,
        "threshold": one.threshold,
        # Built from numbers and fixed words alone, so nothing in them needs escaping.
        "histogram": Markup(histogram(one.labels, one.scores, one.threshold.image_threshold)),
        "roc": _curve(roc, "false-positive rate", "true-positive rate", (false_rate, recall)),
        "pr": _curve(pr, "recall", "precision", (recall, precision)),
        "groups": chapter.groups,
        "neighbours": chapter.neighbors,
        "variants": [first, *(other.to_json() for other in chapter.others)]
        if chapter.others
        else [],
        "certificate": manifest.certificate.get("variants", {}),
        "reference": manifest.certificate.get("reference", ""),
        "provenance": manifest.provenance,
        "recipe": manifest.recipe,
        "skipped": [{"name": path.name, "reason": reason} for path, reason in one.skipped],
    }


def _curve(
    points: tuple[Any, Any], x_label: str, y_label: str, mark: tuple[float, float]
) -> Markup | None:
    xs, ys = points
    return Markup(curve(xs, ys, x_label, y_label, mark)) if len(xs) else None
