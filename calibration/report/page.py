"""The report: bundles and labeled parts in, one self-contained HTML file out."""

from __future__ import annotations

import math
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from calibration.evaluation import evaluate, find_category
from calibration.figures import Evaluation, averages, mean_of
from calibration.metrics import pr_points, roc_points
from calibration.report.charts import curve, histogram
from calibration.report.gallery import Group, Neighbors, gallery, neighbors
from runtime import atomic
from runtime.atomic import readable
from runtime.bundle.folder import Bundle
from runtime.console import figure, percent
from runtime.errors import DataError
from runtime.inspector import Inspector

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


def write_report(
    bundles: Sequence[Path],
    data: Path,
    out: Path,
    *,
    category: str | None = None,
    pictures: int = 4,
    all_variants: bool = False,
    **engine: Any,
) -> list[Chapter]:
    """Evaluate bundles and write the report.

    Args:
        bundles: folders or ``.lineside`` files.
        data: MVTec-style root or one category's folder.
        out: HTML file to write.
        category: see :func:`calibration.evaluation.find_category`.
        pictures: largest number of misses, of false alarms and of hits to show.
        all_variants: also measure every other engine and precision in each bundle.
        engine: keyword arguments of :class:`runtime.inspector.Inspector`.

    Raises:
        BundleError: no bundle, or not this variant.
        DataError: no labeled parts that can be read, or the file cannot be written.
    """
    if not out.absolute().parent.is_dir():
        # Before the evaluation, which may take minutes.
        raise DataError(
            f"{out}: expected its folder to exist, found nothing there; make it, or choose another "
            "--out"
        )
    chapters = []
    for path in bundles:
        with Bundle.open(path) as bundle:
            found = find_category(data, bundle.manifest.category, category)
            with Inspector(bundle, **engine) as inspector:
                evaluation = evaluate(inspector, found)
                groups = gallery(evaluation, inspector, pictures)
                shown = inspector.variant
            others = []
            for variant in bundle.manifest.variants if all_variants else ():
                if variant != shown:
                    with Inspector(
                        bundle, engine=variant.engine, precision=variant.precision
                    ) as inspector:
                        others.append(evaluate(inspector, found))
        chapters.append(Chapter(evaluation, groups, neighbors(evaluation, pictures), others))
    try:
        page = render(chapters, data.absolute().name)
        atomic.write_bytes(out, readable(page).encode())
    except OSError as error:
        raise DataError(
            f"{out}: expected to write it, but {error.strerror}; choose another --out"
        ) from error
    return chapters


def render(chapters: Sequence[Chapter], data_name: str) -> str:
    """The report as HTML; the template engine escapes whatever came from a file or its name.

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
    average = [
        mean_of([row["image_auroc"] for row in rows if row["model"] == model]) for model in models
    ]
    return {"models": models, "lines": lines, "average": average}


def _chapter(chapter: Chapter) -> dict[str, Any]:
    one = chapter.evaluation
    found = one.confusion
    manifest = one.manifest
    # Of the parts that got a verdict; the others were shown to a person.
    recall = _share(found.hits, found.misses)
    false_rate = _share(found.false_rejects, found.accepted_good)
    precision = _share(found.hits, found.false_rejects)
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


def _share(these: int, those: int) -> float:
    return these / (these + those) if these + those else math.nan


def _curve(
    points: tuple[Any, Any], x_label: str, y_label: str, mark: tuple[float, float]
) -> Markup | None:
    xs, ys = points
    return Markup(curve(xs, ys, x_label, y_label, mark)) if len(xs) else None
