"""From a data set and a budget to the best bundle that fits."""

from __future__ import annotations

import dataclasses
import logging
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.bundling import Work, write_bundle
from export.plan.accuracy import AccuracyOn, Exam, make_exam
from export.plan.candidates import Grid, candidates, check_grid, count_candidates
from export.plan.choose import Budget, Measured, best_within, preference
from export.plan.int8 import add_int8
from export.plan.measure import measure_bundle
from export.recipe import PatchCoreRecipe, Recipe
from runtime import atomic
from runtime.bundle.folder import Bundle, seal
from runtime.errors import ParityError, TrainingError
from runtime.images.dataset import Category

log = logging.getLogger("lineside")


@dataclass(frozen=True)
class Question:
    """What is to be planned.

    Attributes:
        recipes: one base recipe for each model to try; the grid replaces size and bank.
        grid: what is varied.
        category: the data set.
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
    category: Category
    budget: Budget
    accuracy_on: AccuracyOn | None = None
    seed: int = 0
    device: str = "CPU"
    threads: int | None = None
    int8: bool = False


@dataclass(frozen=True)
class Plan:
    """All that was measured, what it was measured on, and the best that fits (None: nothing does)."""

    exam: Exam
    measured: list[Measured]
    best: Measured | None


def plan(question: Question, out: Path, name: str | None) -> Plan:
    """Train, derive, measure; write the best bundle within the budget.

    Args:
        question: what to plan.
        out: bundle folder to write; it appears only at the end, and only if something fits.
        name: the bundle's name, or None for ``CATEGORY-MODEL``.

    Raises:
        TrainingError: settings out of range, or no candidate could be exported.
        KeyboardInterrupt: interrupted; nothing is left behind.
    """
    recipes = [ready for recipe in question.recipes for ready in check_grid(recipe, question.grid)]
    total = count_candidates(recipes, question.grid)
    exam: Exam | None = None
    measured: list[Measured] = []
    best: Measured | None = None
    with tempfile.TemporaryDirectory(prefix="lineside-plan-") as folder:
        candidate, kept = Path(folder) / "candidate", Path(folder) / "best"
        every = (
            work
            for recipe in recipes
            for work in candidates(recipe, question.category, question.grid, question.seed)
        )
        for number, work in enumerate(every, 1):
            exam = exam or _exam(question, work)
            found = _try(work, candidate, name, question, exam)
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


def _exam(question: Question, work: Work) -> Exam:
    # Every size has the same held-out parts: the split depends on the readable files and the seed.
    held_out = work.photographs.held_out
    side = max(question.grid.sides)
    exam = make_exam(question.category, held_out, side, question.seed, question.accuracy_on)
    log.info(f"accuracy on {exam.title}")
    return exam


def _try(
    work: Work, folder: Path, name: str | None, question: Question, exam: Exam
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
        add_int8(folder, work.photographs)
    prototypes = work.recipe.max_prototypes if isinstance(work.recipe, PatchCoreRecipe) else None
    picture = work.photographs.held_out[0]
    return measure_bundle(folder, prototypes, exam, picture, question.device, question.threads)


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
