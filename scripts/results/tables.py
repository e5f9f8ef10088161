"""Figures as Markdown tables, each from a command's own JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from export.models import families
from runtime.bundle.manifest import parse_manifest

# Image AUROC on the real MVTec AD: PatchCore 10 % (Roth et al., CVPR 2022, table S1);
# EfficientAD-S, public re-implementation.
PUBLISHED = {
    "patchcore": {"tile": 0.989, "leather": 1.000, "grid": 0.979},
    "efficientad": {"tile": 0.998, "leather": 1.000, "grid": 0.997},
}
TITLES = {family.name: family.title for family in families()}
Rows = list[dict[str, Any]]


def lineside(*arguments: object) -> Rows:
    """Run a subcommand with --json; its objects, one a line."""
    command = [sys.executable, "-P", "-m", "lineside", *map(str, arguments), "--json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def accuracy(rows: Rows, *, published: bool) -> str:
    """Per category and on average, both models."""
    head = ["model", "category", "image AUROC", "95 % interval", "pixel AUROC", "AUPRO", "F1 max"]
    head += ["published image AUROC"] if published else []
    lines = []
    for model, title in TITLES.items():
        own = sorted(
            (row for row in rows if row["model"] == model), key=lambda row: str(row["category"])
        )
        for row in own:
            line = [
                title,
                row["category"],
                _three(row["image_auroc"]),
                f"{_three(row['image_auroc_low'])} – {_three(row['image_auroc_high'])}",
                _three(row.get("pixel_auroc")),
                _three(row.get("aupro")),
                _three(row["image_f1_max"]),
            ]
            lines.append(
                line + ([_three(PUBLISHED[model].get(row["category"]))] if published else [])
            )
        if own:
            means = [
                _three(_mean(own, name))
                for name in ("image_auroc", "pixel_auroc", "aupro", "image_f1_max")
            ]
            line = [title, "average", means[0], "", *means[1:]]
            lines.append(
                [f"**{cell}**" if cell else "" for cell in line] + ([""] if published else [])
            )
    return table(head, lines)


def defects(rows: Rows) -> str:
    """Image AUROC by kind of defect, one table a category."""
    parts = []
    for category in sorted({row["category"] for row in rows}):
        own = [row for row in rows if row["category"] == category]
        names = [defect["defect_type"] for defect in own[0]["defects"]]
        lines = [
            [
                TITLES[row["model"]],
                *(_three(d["image_auroc"]) for d in row["defects"]),
                f"{row['misses']} of {row['n_anomalous']}",
                f"{row['false_rejects']} of {row['n_good']}",
            ]
            for row in own
        ]
        parts.append(
            f"**{category}**\n\n" + table(["model", *names, "missed", "false rejects"], lines)
        )
    return "\n\n".join(parts)


def latency(rows: Rows) -> str:
    """Percentiles per engine."""
    lines = [
        [
            row["bundle"],
            f"{row['engine']}/{row['precision']}",
            f"{row['p50_ms']:.1f}",
            f"{row['p95_ms']:.1f}",
            f"{row['p99_ms']:.1f}",
            f"{row['cold_start_ms']:.0f}",
            f"{row['peak_rss_mib']:.0f}",
        ]
        for row in rows
    ]
    return table(
        ["bundle", "engine", "p50 ms", "p95 ms", "p99 ms", "cold start ms", "peak memory MiB"],
        lines,
    )


def peers(rows: Rows) -> str:
    """Lineside beside its peers on the same checkpoint, from benchmarks.peers --json."""
    lines = [
        [
            row["case"],
            name,
            f"{one['p50_ms']:.1f}",
            f"{one['times_faster']:.2f}",
            _difference(one["score_difference"]),
        ]
        for row in rows
        for name, one in row["contestants"].items()
    ]
    return table(["case", "contestant", "p50 ms", "times faster", "score difference"], lines)


def _difference(found: float | None) -> str:
    return "scores of its own" if found is None else f"{found:.0e}"


def coreset(rows: Rows) -> str:
    """Selection time beside anomalib's, from benchmarks.coreset --json."""
    names = [name for name, value in rows[0].items() if isinstance(value, int | float | str)]
    return table(names, [[_short(row[name]) for name in names] for row in rows])


def benchmark(module: str, *arguments: object) -> Rows:
    """Run a benchmark with --json; its objects, one a line."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments), "--json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def certificates(bundles: list[Path]) -> str:
    """What every bundle says of itself."""
    lines = []
    for bundle in bundles:
        manifest = parse_manifest((bundle / "bundle.json").read_text(encoding="utf-8"))
        for key, parity in manifest.certificate["variants"].items():
            lines.append(
                [
                    bundle.name,
                    key,
                    str(parity["images"]),
                    f"{parity['max_score_difference']:.1e}",
                    f"{parity['max_map_difference']:.1e}",
                    str(parity["verdict_flips"]),
                ]
            )
    return table(
        [
            "bundle",
            "variant",
            "images",
            "largest score difference",
            "largest map difference",
            "flips",
        ],
        lines,
    )


def table(head: list[str], lines: list[list[str]]) -> str:
    """Markdown."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _three(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _mean(rows: Rows, name: str) -> float | None:
    values = [row[name] for row in rows if row.get(name) is not None]
    return sum(values) / len(values) if values else None


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
