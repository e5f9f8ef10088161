"""Promised against observed false rejects, over random splits of good parts in two.

    python benchmarks/false_rejects.py BUNDLE --good DIR --splits 2000
    python benchmarks/false_rejects.py scores.txt --splits 2000

The scores are computed once (or read from a text file, one raw score a line). Every split sets the
threshold on one part of the good pictures and counts rejects on the rest. The last column says in
which share of splits the observed rate may exceed the promised one when the theory holds: the rest
of the pictures is a small sample itself, so even a threshold whose true rate is below the promise
is sometimes seen above it (beta-binomial law of exceedances).
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import betabinom

from calibration.scoring import learned_digests, score_pictures
from calibration.threshold_rules import Promise, promise
from runtime.errors import LinesideError
from runtime.inspector import Inspector
from runtime.types import Floats

RATES = (0.1, 0.05, 0.02, 0.01)


def good_scores(source: Path, good: Path | None) -> Floats:
    """Scores from a bundle and a folder, or from a text file."""
    if good is None:
        return np.atleast_1d(np.loadtxt(source, dtype=np.float64))
    with Inspector(source) as inspector:
        learned = learned_digests(inspector.bundle)
        return score_pictures([inspector], good, "scoring good parts", learned).reference[1]


def observed_rates(scores: Floats, promised: Promise, splits: int, seed: int) -> Floats:
    """False-reject rate on the rest of the parts, one for each split."""
    rng = np.random.default_rng(seed)
    rates = np.empty(splits)
    for split in range(splits):
        shuffled = rng.permutation(scores)
        threshold = promised.of(shuffled[: promised.n_good])
        rates[split] = float((shuffled[promised.n_good :] > threshold).mean())
    return rates


def expected_above(promised: Promise, rest: int) -> float:
    """Share of splits that exceed the promise, for continuous exchangeable scores."""
    allowed = math.floor(promised.max_false_rejects * rest + 1e-9)
    rank = promised.rank
    return float(betabinom.sf(allowed, rest, promised.n_good - rank + 1, rank))


def measure(
    scores: Floats, share: float, confidence: float, splits: int, seed: int
) -> list[dict[str, Any]]:
    """One row for each rate and kind of promise."""
    n_good = round(scores.size * share)
    rows = []
    for kind in (None, confidence):
        for rate in RATES:
            promised = promise(n_good, rate, kind)
            rates = observed_rates(scores, promised, splits, seed)
            rows.append(
                {
                    "promise": "on average" if kind is None else f"confidence {kind:g}",
                    "asked": rate,
                    "promised": promised.max_false_rejects,
                    "n_good": n_good,
                    "n_rest": scores.size - n_good,
                    "observed_mean": float(rates.mean()),
                    "observed_p95": float(np.quantile(rates, 0.95)),
                    "above_promise": float((rates > promised.max_false_rejects + 1e-12).mean()),
                    "above_promise_expected": expected_above(promised, scores.size - n_good),
                }
            )
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    """Print a table."""
    table = Table(box=None)
    for name in (
        "promise",
        "asked",
        "promised",
        "calibrated on",
        "observed on",
        "observed mean",
        "observed p95",
        "above promise",
        "expected",
    ):
        table.add_column(name, justify="left" if name == "promise" else "right")
    for row in rows:
        figures = [row[key] for key in ("asked", "promised")]
        observed = [
            row[key]
            for key in ("observed_mean", "observed_p95", "above_promise", "above_promise_expected")
        ]
        table.add_row(
            row["promise"],
            *(f"{value:.2%}" for value in figures),
            str(row["n_good"]),
            str(row["n_rest"]),
            *(f"{value:.2%}" for value in observed),
        )
    console = Console(highlight=False)
    console.width = max(console.width, 130)
    console.print(table)


@click.command()
@click.argument("source", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--good", type=click.Path(path_type=Path), help="Good parts that training has not seen."
)
@click.option(
    "--share",
    type=click.FloatRange(0.05, 0.95),
    default=0.6,
    show_default=True,
    help="Share of them to calibrate on.",
)
@click.option("--confidence", type=float, default=0.95, show_default=True)
@click.option("--splits", type=click.IntRange(min=1), default=2000, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(
    source: Path,
    good: Path | None,
    share: float,
    confidence: float,
    splits: int,
    seed: int,
    as_json: bool,
) -> None:
    """Show the promised and the observed false-reject rate."""
    try:
        scores = good_scores(source, good)
        rows = measure(scores, share, confidence, splits, seed)
    except (LinesideError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        for row in rows:
            click.echo(json.dumps(row))
    else:
        show(rows)


if __name__ == "__main__":
    main()
