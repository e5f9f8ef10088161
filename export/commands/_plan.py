"""The work behind ``lineside plan``, imported only when it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from export.commands._train import require_writable
from export.plan.candidates import Grid
from export.plan.chart import check_plot_path
from export.plan.choose import Budget, nearest, pareto
from export.plan.run import Plan, Question, plan
from export.plan.show import plot, table
from export.recipe import Recipe
from export.recipe_file import make_recipe, read_recipe_file
from runtime import atomic
from runtime.console import emit_json, say
from runtime.errors import TrainingError
from runtime.images.dataset import load_category

# What the grid replaces in a recipe.
VARIED = ("size_hw", "coreset_ratio", "max_prototypes")


def run(options: dict[str, Any]) -> int:
    """Plan, print, draw.

    Returns:
        The exit code: 1 if nothing fits the budget.
    """
    out: Path = options["out"]
    require_writable(out)
    if options["plot"] is not None:
        check_plot_path(options["plot"])
    grid = Grid(
        numbers("--sizes", options["sizes"]), numbers("--prototypes", options["prototypes"])
    )
    budget = Budget(options["max_latency_ms"], options["max_memory_mib"])
    category = load_category(options["data"], options["category"])
    question = Question(
        _recipes(options),
        grid,
        category,
        budget,
        options["accuracy_on"],
        options["seed"],
        options["device"],
        options["threads"],
        options["int8"],
    )
    found = plan(question, out, options["name"])
    if options["plot"] is not None:
        atomic.write_bytes(options["plot"], plot(found, budget).encode())
        say(f"plot written: {options['plot']}")
    if options["as_json"]:
        emit_json(_to_json(found, budget, out))
    else:
        click.echo(table(found, budget))
    return _conclude(found, budget, out)


def numbers(flag: str, text: str) -> tuple[int, ...]:
    """Positive whole numbers separated by commas, each once, in order.

    Raises:
        TrainingError: something else.
    """
    try:
        found = sorted({int(piece) for piece in text.split(",")})
    except ValueError:
        found = []
    if not found or found[0] < 1:
        raise TrainingError(
            f"{flag}: expected whole numbers separated by commas, as in 256,320, found '{text}'"
        )
    return tuple(found)


def _recipes(options: dict[str, Any]) -> list[Recipe]:
    if options["recipe"] is not None:
        if options["models"]:
            raise TrainingError(
                "plan: expected --model or --recipe, found both; the recipe says which model it is"
            )
        settings = [read_recipe_file(options["recipe"])]
        varied = [name for name in VARIED if name in settings[0]]
        if varied:
            say(
                f"{options['recipe']}: {', '.join(varied)} left aside: --sizes and --prototypes "
                "vary it"
            )
    else:
        settings = [
            {"model": model} for model in dict.fromkeys(options["models"] or ("patchcore",))
        ]
    if options["steps"] is not None:
        taking = [one for one in settings if one["model"] == "efficientad"]
        if not taking:
            raise TrainingError(
                "--steps: expected with --model efficientad, found without; leave it out"
            )
        for one in taking:
            one["steps"] = options["steps"]
    return [make_recipe(one) for one in settings]


def _to_json(found: Plan, budget: Budget, out: Path) -> dict[str, Any]:
    front = pareto(found.measured)
    return {
        "accuracy_on": found.exam.on,
        "n_good": len(found.exam.good),
        "n_anomalous": len(found.exam.anomalous),
        "max_latency_ms": budget.max_latency_ms,
        "max_memory_mib": budget.max_memory_mib,
        "variants": [
            {**one.to_json(), "pareto": one in front, "fits": budget.allows(one)}
            for one in found.measured
        ],
        "chosen": None if found.best is None else found.best.to_json(),
        "bundle": None if found.best is None else str(out),
    }


def _conclude(found: Plan, budget: Budget, out: Path) -> int:
    if found.best is None:
        close = nearest(found.measured, budget)
        say(
            f"lineside: plan: expected a variant within {budget}, found none; no bundle was "
            f"written. Nearest: {close.title}: "
            f"p95 {close.p95_ms:.1f} ms, {close.peak_rss_mib:.0f} MiB, AUROC {close.auroc:.4f}. "
            "Raise the budget to that, or try "
            "smaller --sizes and --prototypes"
        )
        return 1
    best = found.best
    say(f"bundle written: {out} ({best.title})")
    say(
        f"next: lineside inspect {out} PICTURES… --engine {best.engine} --precision "
        f"{best.precision}"
    )
    return 0
