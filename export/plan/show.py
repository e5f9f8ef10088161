"""The plan for people: a table, and a plot of accuracy against latency."""

from __future__ import annotations

from export.plan.choose import Budget, Measured, pareto
from export.plan.planning import Plan
from runtime.chart import BLUE, GREY, ORANGE, Panel, Series, draw

_HEAD = (
    "",
    "model",
    "px",
    "prototypes",
    "variant",
    "AUROC",
    "p50 ms",
    "p95 ms",
    "MiB",
    "start ms",
    "fits",
)


def table(found: Plan, budget: Budget) -> str:
    """Every variant, the fastest first; ``*`` on the Pareto front, ``>`` was written."""
    front = pareto(found.measured)
    rows = [_HEAD]
    for one in sorted(found.measured, key=lambda m: m.p50_ms):
        mark = ">" if one == found.best else "*" if one in front else ""
        bank = "-" if one.prototypes is None else str(one.prototypes)
        rows.append(
            (
                mark,
                one.model,
                str(one.side),
                bank,
                f"{one.engine}/{one.precision}",
                f"{one.auroc:.4f}",
                f"{one.p50_ms:.1f}",
                f"{one.p95_ms:.1f}",
                f"{one.peak_rss_mib:.0f}",
                f"{one.cold_start_ms:.0f}",
                "yes" if budget.allows(one) else "no",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    left = {0, 1, 4}
    lines = [
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    notes = "latency from file to verdict; * no other is as accurate and faster"
    legend = f"accuracy on {found.exam.title}; {notes}"
    return "\n".join([*lines, legend])


def plot(found: Plan, budget: Budget) -> str:
    """SVG: every variant, the Pareto front joined, the budget as a line."""
    front = pareto(found.measured)
    others = [one for one in found.measured if one not in front]
    series = [
        Series("beaten", [m.p50_ms for m in others], [m.auroc for m in others], GREY, "dots"),
        Series("", [m.p50_ms for m in front], [m.auroc for m in front], BLUE),
        Series(
            "Pareto front",
            [m.p50_ms for m in front],
            [m.auroc for m in front],
            BLUE,
            "dots",
            [_short(m) for m in front],
        ),
    ]
    if found.best is not None:
        series.append(Series("written", [found.best.p50_ms], [found.best.auroc], ORANGE, "dots"))
    limit = budget.max_latency_ms
    slowest = max(m.p50_ms for m in found.measured)
    # A budget far beyond everything would squeeze the points into a corner.
    marks = [] if limit is None or limit > 2 * slowest else [(f"budget {limit:g} ms (p95)", limit)]
    shown = [one for one in series if one.xs]
    return draw(
        [Panel("accuracy against latency", "p50, ms", "image AUROC", shown, marks, from_zero=False)]
    )


def _short(one: Measured) -> str:
    bank = "" if one.prototypes is None else f"/{one.prototypes}"
    return f"{one.side}{bank} {one.precision}"
