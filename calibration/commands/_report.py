"""The work behind ``lineside report``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from calibration.evaluate import evaluate, find_category
from calibration.evaluation import Evaluation
from calibration.report.neighbors import neighbors
from calibration.report.page import Chapter, render
from calibration.report.pictures import gallery
from runtime import atomic
from runtime.atomic import readable
from runtime.bundle.folder import Bundle
from runtime.console import say
from runtime.errors import DataError
from runtime.images.dataset import Category
from runtime.inspector import Inspector


def run(bundles: Sequence[Path], options: dict[str, Any]) -> None:
    """Evaluate, draw, write."""
    out: Path = options["out"]
    if not out.absolute().parent.is_dir():
        # Before the evaluation, which may take minutes.
        raise DataError(
            f"{out}: expected its folder to exist, found nothing there; make it, or choose "
            "another --out"
        )
    chapters = [_chapter(path, options) for path in bundles]
    try:
        page = render(chapters, options["data"].absolute().name)
        atomic.write_bytes(out, readable(page).encode())
    except OSError as error:
        raise DataError(
            f"{out}: expected to write it, but {error.strerror}; choose another --out"
        ) from error
    say(f"{out}: {len(chapters)} bundles, {out.stat().st_size / 2**20:.1f} MiB")
    click.echo(out)


def _chapter(path: Path, options: dict[str, Any]) -> Chapter:
    engine = {name: options[name] for name in ("engine", "precision", "device", "threads")}
    with Bundle.open(path) as bundle:
        category = find_category(options["data"], bundle.manifest.category, options["category"])
        with Inspector(bundle, **engine) as inspector:
            evaluation = evaluate(inspector, category)
            groups = gallery(evaluation, inspector, options["pictures"])
            near = neighbors(evaluation, options["pictures"])
            shown = inspector.variant.key
        others = _others(bundle, category, shown) if options["all_variants"] else []
    return Chapter(evaluation, groups, near, others)


def _others(bundle: Bundle, category: Category, shown: str) -> list[Evaluation]:
    found = []
    for variant in bundle.manifest.variants:
        if variant.key != shown:
            with Inspector(bundle, engine=variant.engine, precision=variant.precision) as inspector:
                found.append(evaluate(inspector, category))
    return found
