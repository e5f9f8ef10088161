"""The work behind ``lineside bench``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from runtime.bench import measure_cold_start, summarize, time_stages
from runtime.bundle import Bundle
from runtime.cli import emit_json
from runtime.golden import GOLDEN_FOLDER
from runtime.inspector import Inspector


def run(
    path: Path,
    image: Path | None,
    repetitions: int,
    takt_ms: float | None,
    engine: dict[str, Any],
    *,
    as_json: bool,
) -> None:
    """Measure and print."""
    with Bundle.open(path) as bundle:
        picture = image or bundle.root / GOLDEN_FOLDER / "0.png"
        with Inspector(bundle, **engine) as inspector:
            times = time_stages(inspector, picture, repetitions)
        # Twice: the first run may fill the model cache, the second shows a start with a warm one.
        measure_cold_start(bundle.root, picture, engine)
        cold_start_ms, peak_rss_mib = measure_cold_start(bundle.root, picture, engine)
        manifest = bundle.manifest
    result: dict[str, Any] = {
        "bundle": manifest.name,
        "engine": engine["engine"],
        "precision": engine["precision"],
        "device": engine["device"],
        "input_hw": list(manifest.input.size_hw),
        **{name: round(value, 3) for name, value in summarize(times).items()},
        "cold_start_ms": round(cold_start_ms, 1),
        "peak_rss_mib": round(peak_rss_mib, 1),
    }
    if takt_ms is not None:
        result.update(takt_ms=takt_ms, keeps_takt=result["p99_ms"] <= takt_ms)
    if as_json:
        emit_json(result)
    else:
        _print(result)


def _print(result: dict[str, Any]) -> None:
    height, width = result["input_hw"]
    click.echo(
        f"{result['bundle']}  {result['engine']}/{result['precision']} on {result['device']}, {height}x{width}"
    )
    click.echo(
        f"  p50 {result['p50_ms']:.2f} ms   p95 {result['p95_ms']:.2f} ms   p99 {result['p99_ms']:.2f} ms   "
        f"{result['images_per_second']:.0f} images/s"
    )
    click.echo(
        f"  decode {result['decode_p50_ms']:.2f} ms   resize {result['resize_p50_ms']:.2f} ms   "
        f"infer {result['infer_p50_ms']:.2f} ms"
    )
    click.echo(
        f"  cold start {result['cold_start_ms']:.0f} ms   peak memory {result['peak_rss_mib']:.0f} MiB"
    )
    if "keeps_takt" in result:
        click.echo(
            f"  takt {result['takt_ms']:g} ms: {'kept' if result['keeps_takt'] else 'NOT kept'} at the 99th percentile"
        )
