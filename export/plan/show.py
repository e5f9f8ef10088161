"""The plan for people: a table, and a plot of accuracy against latency."""

from __future__ import annotations

import io
from pathlib import Path

from rich.table import Table

from export.plan.choose import Budget, Measured, pareto
from export.plan.planning import Plan
from runtime import atomic
from runtime.errors import LinesideError

# Told apart by color-blind eyes and in gray.
BLUE, ORANGE, GRAY = "#33589b", "#c8551b", "#8a8f98"


def table(found: Plan, budget: Budget) -> Table:
    """Every variant, the fastest first; ``*`` on the Pareto front, ``>`` was written."""
    shown = Table(box=None, pad_edge=False)
    for name in ("", "model", "px", "prototypes", "variant"):
        shown.add_column(name, no_wrap=True, justify="right" if name[:1] == "p" else "left")
    for name in ("AUROC", "p50 ms", "p95 ms", "MiB", "start ms", "fits"):
        shown.add_column(name, no_wrap=True, justify="right")
    front = pareto(found.measured)
    for one in sorted(found.measured, key=lambda m: m.p50_ms):
        shown.add_row(
            ">" if one == found.best else "*" if one in front else "",
            one.model,
            str(one.side),
            "-" if one.prototypes is None else str(one.prototypes),
            f"{one.engine}/{one.precision}",
            f"{one.auroc:.4f}",
            f"{one.p50_ms:.1f}",
            f"{one.p95_ms:.1f}",
            f"{one.peak_rss_mib:.0f}",
            f"{one.cold_start_ms:.0f}",
            "yes" if budget.allows(one) else "no",
        )
    return shown


def legend(found: Plan) -> str:
    """What the table's figures are."""
    notes = "latency from file to verdict; * no other is as accurate and faster"
    return f"accuracy on {found.exam.title}; {notes}"


def check_plot_path(path: Path) -> None:
    """Refuse what cannot be written before minutes are spent on measuring.

    Raises:
        LinesideError: another suffix than .svg, or no such folder.
    """
    if path.suffix.lower() != ".svg":
        raise LinesideError(
            f"--plot {path}: expected a file name that ends in .svg, found '{path.suffix}'"
        )
    if not path.absolute().parent.is_dir():
        raise LinesideError(
            f"--plot {path}: expected an existing folder, found none; type: mkdir -p {path.parent}"
        )


def plot(found: Plan, budget: Budget, path: Path) -> None:
    """Write an SVG file: every variant, the Pareto front joined, the budget as a line."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    front = pareto(found.measured)
    beaten = [one for one in found.measured if one not in front]
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    axes.set(title="accuracy against latency", xlabel="p50, ms", ylabel="image AUROC")
    axes.plot(*_points(beaten), "o", color=GRAY, label="beaten")
    axes.plot(*_points(front), "o-", color=BLUE, label="Pareto front")
    for one in front:
        bank = "" if one.prototypes is None else f"/{one.prototypes}"
        name = f"{one.side}{bank} {one.precision}"
        axes.annotate(name, (one.p50_ms, one.auroc), (4, 4), textcoords="offset points")
    if found.best is not None:
        axes.plot(*_points([found.best]), "o", color=ORANGE, label="written")
    limit = budget.max_latency_ms
    # A budget far beyond everything would squeeze the points into a corner.
    if limit is not None and limit <= 2 * max(one.p50_ms for one in found.measured):
        axes.axvline(limit, linestyle="--", color=GRAY)
        axes.text(limit, axes.get_ylim()[0], f"budget {limit:g} ms (p95)", rotation=90)
    axes.legend()
    drawn = io.BytesIO()
    # Text stays text: it can be searched, and takes the reader's font.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "lineside"}):
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    atomic.write_bytes(path, drawn.getvalue())


def _points(found: list[Measured]) -> tuple[list[float], list[float]]:
    return [one.p50_ms for one in found], [one.auroc for one in found]
