"""``lineside plan``."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from export.commands.options import (
    PACKAGES,
    PlanCommand,
    given_settings,
    training_options,
    typed_flag,
)
from runtime.options import FiniteRange, json_option

if TYPE_CHECKING:
    from export.models.settings import Recipe
    from export.plan.choose import Budget
    from export.plan.planning import Plan

# What the grid replaces in a recipe.
VARIED = ("size_hw", "coreset_ratio", "max_prototypes")


@click.command(cls=PlanCommand)
@training_options
@click.option(
    "--max-latency-ms",
    type=FiniteRange(min=0, min_open=True),
    help="Budget for the 95th percentile from file to verdict.  [default: no limit]",
)
@click.option(
    "--max-memory-mib",
    type=FiniteRange(min=0, min_open=True),
    help="Budget for the peak memory of the process.  [default: no limit]",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    help="Model to try; repeatable.  [default: patchcore]",
)
@click.option(
    "--recipe",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Settings in TOML that every variant shares, in the place of --model.",
)
@click.option(
    "--sizes", default="192,256,320", show_default=True, help="Input sides in pixels to try."
)
@click.option(
    "--prototypes",
    default="500,2000,10000",
    show_default=True,
    help="PatchCore: sizes of the bank to try.",
)
@click.option(
    "--int8",
    is_flag=True,
    help="Also quantize every candidate, as lineside calibrate --int8 does; needs the extra "
    "calibrate.",
)
@click.option(
    "--accuracy-on",
    type=click.Choice(["labelled", "synthetic"]),
    help="What accuracy is measured on.  [default: labeled test parts if there are any]",
)
@click.option("--device", default="CPU", show_default=True, help="CPU, GPU, NPU or AUTO.")
@click.option(
    "--threads", type=click.IntRange(min=1), help="CPU threads.  [default: the engine's choice]"
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Draw the variants as an SVG file.",
)
@json_option
def command(**options: Any) -> None:
    """Find the most accurate model that this machine can afford.

    Trains once for each input size, derives smaller banks from the largest, exports each, measures
    accuracy, latency and memory here, prints them all and writes the best bundle within the budget.
    Exits with 1 if nothing fits.

    \b
    Example:
      lineside plan --data parts --category tile --max-latency-ms 20 --out tile-best
      lineside plan --data photographs/good --out screws --sizes 256 --int8 --plot plan.svg
    """
    from runtime.errors import require_extra

    require_extra("train", *PACKAGES)
    if options["int8"]:
        require_extra("calibrate", "nncf", "sklearn", "scipy")
    # anomalib warns of its own deprecated modules while it is imported.
    warnings.simplefilter("ignore")
    from export.models.base import Grid
    from export.plan.choose import Budget
    from export.plan.planning import Question, plan
    from export.plan.show import check_plot_path, legend, plot, table
    from runtime.console import emit_json, say, wide_console

    out: Path = options["out"]
    svg: Path | None = options["plot"]
    if svg is not None:
        check_plot_path(svg)
    grid = Grid(
        numbers("--sizes", options["sizes"]), numbers("--prototypes", options["prototypes"])
    )
    budget = Budget(options["max_latency_ms"], options["max_memory_mib"])
    shared = ("data", "category", "accuracy_on", "seed", "device", "threads", "int8")
    question = Question(
        _recipes(options), grid, budget=budget, **{name: options[name] for name in shared}
    )
    found = plan(question, out, options["name"])
    if svg is not None:
        plot(found, budget, svg)
        say(f"plot written: {svg}")
    if options["as_json"]:
        emit_json(_to_json(found, budget, out))
    else:
        wide_console().print(table(found, budget))
        click.echo(legend(found))
    sys.exit(_conclude(found, budget, out))


def numbers(flag: str, text: str) -> tuple[int, ...]:
    """Positive whole numbers separated by commas, each once, in order.

    Raises:
        TrainingError: something else.
    """
    from runtime.errors import TrainingError

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
    """One base recipe a model; a setting that was typed goes to the models that have it."""
    from export.recipes import field_names, make_recipe, model_names, read_recipe_file
    from runtime.console import say
    from runtime.errors import TrainingError

    file: Path | None = options["recipe"]
    if file is not None and options["models"]:
        raise TrainingError(
            "plan: expected --model or --recipe, found both; the recipe says which model it is"
        )
    models = dict.fromkeys(options["models"] or model_names()[:1])
    settings = [read_recipe_file(file)] if file else [{"model": model} for model in models]
    varied = [name for name in VARIED if file and name in settings[0]]
    if varied:
        say(f"{file}: {', '.join(varied)} left aside: --sizes and --prototypes vary it")
    for name, value in given_settings(options).items():
        taking = [one for one in settings if name in field_names(one["model"])]
        if not taking:
            having = [model for model in model_names() if name in field_names(model)]
            raise TrainingError(
                f"{typed_flag(name, value)}: expected with --model {' or '.join(having)}, found "
                "without; leave it out"
            )
        for one in taking:
            one[name] = value
    return [make_recipe(one) for one in settings]


def _to_json(found: Plan, budget: Budget, out: Path) -> dict[str, Any]:
    from export.plan.choose import pareto

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
    """Say what was made; the exit code: 1 if nothing fits."""
    from export.plan.choose import nearest
    from runtime.console import say

    best = found.best
    if best is None:
        close = nearest(found.measured, budget)
        say(
            f"lineside: plan: expected a variant within {budget}, found none; no bundle was "
            f"written. Nearest: {close.title}: p95 {close.p95_ms:.1f} ms, "
            f"{close.peak_rss_mib:.0f} MiB, AUROC {close.auroc:.4f}. Raise the budget to that, "
            "or try smaller --sizes and --prototypes"
        )
        return 1
    say(f"bundle written: {out} ({best.title})")
    engine = f"--engine {best.engine} --precision {best.precision}"
    say(f"next: lineside inspect {out} PICTURES… {engine}")
    return 0
