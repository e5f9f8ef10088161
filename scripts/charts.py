"""Charts of figures that pages hold: ``python -m scripts.charts`` draws them into docs/images.

A chart is drawn from the page's own table, so both say the same; nothing is measured here.
"""

from __future__ import annotations

import re
from pathlib import Path

from matplotlib.figure import Figure

from scripts.figures import style

DOCS = Path(__file__).parents[1] / "docs"
PEERS = ("anomalib torch", "anomalib `OpenVINOInferencer`", "fp32", "search in INT8", "INT8")
COLORS = ("#c3c7ce", style.NEUTRAL, "#7fb5b0", "#4d958f", "#1f5f5a")


def table(page: str, first: str) -> list[dict[str, str]]:
    """Rows of a page's table by the names of its columns.

    Args:
        page: name below docs/.
        first: how the row of names begins.
    """
    text = (DOCS / page).read_text(encoding="utf-8")
    lines = text[text.index(first) :].split("\n\n")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]


def peers() -> Figure:
    """Latency beside anomalib, a group of bars a checkpoint."""
    rows = [
        row for row in table("speed.md", "| | anomalib") if row[PEERS[0]] and "2,3" not in row[""]
    ]
    drawn = style.figure(1.0 + 0.95 * len(rows))
    axes = drawn.subplots()
    for group, row in enumerate(rows):
        at = 0
        for name, color in zip(PEERS, COLORS, strict=True):
            found = re.match(r"([\d.]+) ms", row[name])
            if not found:
                continue
            time = float(found[1])
            y = group * 6 + at
            axes.barh(y, time, color=color, height=0.95, label=None if group else name)
            axes.text(time * 1.04, y, f"{time:g} ms", va="center", fontsize=9)
            at += 1
    axes.set(xscale="log", xlim=(1, 1000), xlabel="one picture, milliseconds (logarithmic)")
    axes.set_xticks([1, 10, 100], ["1", "10", "100"])
    names = [row[""].replace("PatchCore ", "PatchCore\n").replace("-S, ", "-S\n") for row in rows]
    axes.set_yticks([6 * group + 1.5 for group in range(len(rows))], names)
    axes.invert_yaxis()
    axes.set_title("Beside anomalib, two cores of an AMD EPYC (Zen 5)", loc="left")
    labels = [name.replace("`", "") for name in PEERS[:2]] + [f"Lineside {n}" for n in PEERS[2:]]
    handles = [container[0] for container in axes.containers[: len(PEERS)]]
    drawn.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=9)
    return drawn


def plan() -> Figure:
    """What plan measured: accuracy against latency, with the front and the choice."""
    text = (DOCS / "plan.md").read_text(encoding="utf-8")
    pattern = r"^([*> ])  patchcore +(\d+) +(\d+) +\S+ +([\d.]+) +[\d.]+ +([\d.]+) +.*?(yes|no)$"
    rows = [
        (mark, int(px), int(bank), float(auroc), float(p95), fits == "yes")
        for mark, px, bank, auroc, p95, fits in re.findall(pattern, text, re.MULTILINE)
    ]
    drawn = style.figure(3.8)
    axes = drawn.subplots()
    front = sorted((p95, auroc) for mark, _, _, auroc, p95, _ in rows if mark in "*>")
    axes.plot(*zip(*front, strict=True), color=style.FAINT, lw=5, zorder=0, solid_capstyle="round")
    for mark, px, bank, auroc, p95, fits in rows:
        color = style.GOOD if mark == ">" else style.NEUTRAL if fits else style.BAD
        axes.plot(p95, auroc, "o", color=color, ms=11 if mark == ">" else 7)
        # Beside the limit's line, not across it.
        away, side = ((-9, -3), "right") if fits else ((9, -3), "left")
        label = f"{px} px, {bank:,}"
        axes.annotate(label, (p95, auroc), away, textcoords="offset points", fontsize=9, ha=side)
    axes.axvline(40, color=style.BAD, lw=1.5, ls="--")
    axes.text(40.6, min(row[3] for row in rows), "--max-latency-ms 40", color=style.BAD)
    axes.set(
        title="Every candidate, measured on this machine; green: what plan wrote",
        xlabel="p95, milliseconds",
        ylabel="image AUROC",
    )
    axes.set_xlim(16, 98)
    return drawn


if __name__ == "__main__":
    style.apply()
    for name, chart in (("peers", peers), ("plan", plan)):
        print(style.save(chart(), DOCS / "images" / f"{name}.png"))
