"""From a data set and a budget to the best bundle that fits."""

from __future__ import annotations

import dataclasses
import logging
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from calibration.health import write_first_health
from calibration.int8.variant import add_int8
from calibration.learning.evidence import load_images, score_engine
from calibration.learning.photographs import read_photographs
from calibration.threshold_rules import first_threshold, peaks_of
from export.bundling import Work, write_bundle
from export.models import family_of
from export.models.base import Grid
from export.models.settings import Recipe
from export.plan.choose import Budget, Measured, best_within, preference
from export.plan.measuring import AccuracyOn, Exam, make_exam, measure_bundle
from export.training import require_writable, train
from runtime import atomic
from runtime.bundle.folder import Bundle, seal
from runtime.bundle.thresholds import THRESHOLDS_FILE, write_thresholds
from runtime.engines.base import open_engine
from runtime.errors import LinesideError, ParityError, TrainingError
from runtime.health.baseline import HEALTH_FILE, read_health
from runtime.images.dataset import Category, load_category

log = logging.getLogger("lineside")


@dataclass(frozen=True)
class Question:
    """What is to be planned.

    Attributes:
        recipes: one base recipe for each model to try; the grid replaces size and bank.
        grid: what is varied.
        data: MVTec-style root, one category's folder, or a plain folder of good parts.
        category: its name below ``data``; None where there is one only.
        budget: what the box can afford.
        accuracy_on: insist on labelled or synthetic defects; None takes labelled ones where there
            are some.
        seed: of everything random.
        device: OpenVINO's device.
        threads: CPU threads, or None for the engine's choice.
        int8: also try an INT8 variant of every candidate.
    """

    recipes: Sequence[Recipe]
    grid: Grid
    data: Path
    category: str | None = None
    budget: Budget = field(default_factory=Budget)
    accuracy_on: AccuracyOn | None = None
    seed: int = 0
    device: str = "CPU"
    threads: int | None = None
    int8: bool = False


@dataclass(frozen=True)
class Plan:
    """All that was measured, on what, and the best that fits (None: nothing does)."""

    exam: Exam
    measured: list[Measured]
    best: Measured | None


def plan(question: Question, out: Path, name: str | None = None) -> Plan:
    """Train, derive, measure; write the best bundle within the budget.

    Args:
        question: what to plan.
        out: bundle folder to write; it appears only at the end, and only if something fits.
        name: the bundle's name, or None for ``CATEGORY-MODEL``.

    Raises:
        DataError: no usable pictures.
        TrainingError: settings out of range, or no candidate could be exported.
        KeyboardInterrupt: interrupted; nothing is left behind.
    """
    require_writable(out)
    category = load_category(question.data, question.category)
    grid = question.grid
    recipes = [ready for one in question.recipes for ready in family_of(one.model).plan(one, grid)]
    total = sum(family_of(recipe.model).count_derived(grid) for recipe in recipes)
    exam: Exam | None = None
    measured: list[Measured] = []
    best: Measured | None = None
    with tempfile.TemporaryDirectory(prefix="lineside-plan-") as folder:
        candidate, kept = Path(folder) / "candidate", Path(folder) / "best"
        every = (work for recipe in recipes for work in candidates(recipe, category, question))
        for number, (work, prototypes) in enumerate(every, 1):
            exam = exam or _exam(question, work)
            found = _try(work, prototypes, candidate, name, question, exam)
            for one in found:
                log.info(f"model {number} of {total}: {one.title}: {_figures(one)}")
            measured += found
            winner = best_within(found, question.budget)
            if winner is not None and (best is None or preference(winner) > preference(best)):
                best = winner
                shutil.rmtree(kept, ignore_errors=True)
                candidate.rename(kept)
        if exam is None or not measured:
            raise TrainingError(
                "plan: expected at least one model that passes the certificate, found none; see "
                "above"
            )
        if best is not None:
            _publish(kept, out, best, exam)
    return Plan(exam, measured, best)


def candidates(
    recipe: Recipe, category: Category, question: Question
) -> Iterator[tuple[Work, int | None]]:
    """Train once, then yield all that the model's family derives, with the rows of each bank.

    The model is one object that changes: use what is yielded before asking for the next.
    """
    photographs = read_photographs(category, recipe.size_hw, question.seed)
    log.info(
        f"{recipe.model} at {recipe.size_hw[0]} px: training on {len(photographs.train)} good parts"
    )
    trained = train(recipe, photographs, question.seed)
    family = family_of(recipe.model)
    for derived, prototypes in family.derived(recipe, trained.model, question.grid):
        yield Work(derived, category, photographs, trained, question.seed), prototypes


def _exam(question: Question, work: Work) -> Exam:
    # Every size has the same held-out parts: the split depends on the readable files and the seed.
    held_out, side = work.photographs.held_out, max(question.grid.sides)
    exam = make_exam(work.category, held_out, side, question.seed, question.accuracy_on)
    log.info(f"accuracy on {exam.title}")
    return exam


def _try(
    work: Work,
    prototypes: int | None,
    folder: Path,
    name: str | None,
    question: Question,
    exam: Exam,
) -> list[Measured]:
    """Export and measure one candidate; one that fails its certificate is named and left out."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        write_bundle(work, folder, name or f"{work.category.name}-{work.recipe.model}")
    except ParityError as error:
        log.info(f"left out: {error}")
        return []
    if question.int8:
        log.info("quantising")
        try:
            _quantise(folder, work)
        except LinesideError as error:
            log.info(f"left out: INT8: {error}")
    picture = work.photographs.held_out[0]
    return measure_bundle(folder, prototypes, exam, picture, question.device, question.threads)


def _quantise(folder: Path, work: Work) -> None:
    """Add the INT8 variant, with a threshold and a baseline of its own as the others have."""
    train, held_out = work.photographs.train, work.photographs.held_out
    add_int8(folder, good=[*train, *held_out])
    with Bundle.open(folder) as bundle:
        manifest, thresholds = bundle.manifest, bundle.thresholds()
    variant, size_hw = manifest.variant("openvino", "int8"), work.recipe.size_hw
    engine = open_engine(variant.engine, folder / variant.path)
    try:
        good = score_engine(engine, load_images(held_out, size_hw), f"{variant.key}: threshold")
    finally:
        engine.close()
    peaks = peaks_of(good.maps, size_hw, manifest.anomaly_map.blur_sigma)
    first = first_threshold(good.scores, peaks)
    write_thresholds(folder / THRESHOLDS_FILE, thresholds.with_threshold(variant.key, first))
    if (folder / HEALTH_FILE).exists():
        scores = {**read_health(folder / HEALTH_FILE).scores, variant.key: good.scores}
        write_first_health(folder, (*train, *held_out), size_hw, scores)


def _publish(folder: Path, out: Path, best: Measured, exam: Exam) -> None:
    """Copy the bundle to its place with the plan's figures in its manifest."""
    with Bundle.open(folder) as bundle:
        manifest = bundle.manifest
    figures: dict[str, Any] = {"plan": {**best.to_json(), "accuracy_on": exam.title}}
    with atomic.folder(out) as root:
        shutil.copytree(folder, root, dirs_exist_ok=True)
        seal(root, dataclasses.replace(manifest, metrics={**manifest.metrics, **figures}))


def _figures(one: Measured) -> str:
    return f"AUROC {one.auroc:.4f}, p50 {one.p50_ms:.1f} ms, {one.peak_rss_mib:.0f} MiB"
