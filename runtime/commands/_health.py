"""The work behind ``lineside health``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from runtime.bundle.folder import Bundle
from runtime.console import emit_json
from runtime.errors import BundleError, HealthError
from runtime.health.baseline import HEALTH_FILE, Health, Limit
from runtime.health.file import read_health, write_health
from runtime.health.statistics import STATISTICS


def run(path: Path, changes: dict[str, Any], *, as_json: bool) -> None:
    """Change what is asked for, then show.

    Raises:
        HealthError: there is no health.json, it is damaged or cannot be written, or a limit makes
            no sense.
        BundleError: a packed bundle is to be changed.
    """
    asked = {name: value for name, value in changes.items() if value is not None and value != ()}
    if asked and path.is_file():
        raise BundleError(
            f"{path}: expected a bundle folder, found a packed one, which cannot be changed in "
            "place; "
            "unpack it first with: python -m zipfile -e BUNDLE FOLDER"
        )
    with Bundle.open(path) as bundle:
        health = bundle.health()
        if health is None:
            raise HealthError(
                f"{path}: expected {HEALTH_FILE}, found none, so every picture is judged and no "
                "drift is looked for; "
                "make it with: lineside calibrate BUNDLE --good DIR"
            )
        if asked:
            health = _write(bundle.root / HEALTH_FILE, _changed(health, asked))
    if as_json:
        emit_json(to_json(health))
    else:
        _print(health)


def _write(path: Path, health: Health) -> Health:
    try:
        write_health(path, health)
    except OSError as error:
        raise HealthError(
            f"{path}: expected to write it, but {error.strerror}; the old state stays in force"
        ) from error
    return read_health(path)


def _changed(health: Health, asked: dict[str, Any]) -> Health:
    for name in ("judge", "drift"):
        if name in asked:
            health = replace(health, **{name: asked[name] == "on"})
    for name in ("parts_between_false_alarms", "tolerated_share"):
        if name in asked:
            health = replace(health, **{name: asked[name]})
    return _with_limits(health, asked["limits"]) if "limits" in asked else health


def _with_limits(health: Health, texts: Sequence[str]) -> Health:
    limits = dict(health.limits)
    for text in texts:
        name, limit = parse_limit(text)
        limits[name] = limit
    return replace(
        health, limits=limits, refused_rate=None, note="limits set by hand; they promise nothing"
    )


def parse_limit(text: str) -> tuple[str, Limit]:
    """Read ``NAME=LOW:HIGH``, both as people see them.

    Raises:
        HealthError: another form, an unknown name, or low above high.
    """
    name, _, sides = text.partition("=")
    low_text, colon, high_text = sides.partition(":")
    if name not in STATISTICS or not colon:
        raise HealthError(
            f"--limit: expected NAME=LOW:HIGH with NAME one of {', '.join(STATISTICS)}, found "
            f"{text!r}; "
            "type e.g. --limit brightness=40:220"
        )
    try:
        low, high = (
            STATISTICS[name].stored(float(one)) if one else None for one in (low_text, high_text)
        )
    except ValueError as error:
        raise HealthError(
            f"--limit {text}: expected numbers, found {error}; type e.g. --limit focus=-7:"
        ) from error
    if low is not None and high is not None and low > high:
        raise HealthError(
            f"--limit {text}: expected LOW before HIGH, found the opposite; swap them"
        )
    return name, Limit(low, high)


def to_json(health: Health) -> dict[str, Any]:
    """The object of ``health --json``; the numbers are as in health.json."""
    return {
        "judge": health.judge,
        "drift": health.drift,
        "parts_between_false_alarms": health.parts_between_false_alarms,
        "tolerated_share": health.tolerated_share,
        "n_good": health.n_good,
        "refused_rate": health.refused_rate,
        "note": health.note,
        "set_at": health.set_at,
        "limits": {name: [limit.low, limit.high] for name, limit in health.limits.items()},
        "score_limits": health.score_limits,
        "n_scores": {key: len(scores) for key, scores in health.scores.items()},
    }


def _print(health: Health) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("number", no_wrap=True)
    for name in ("lowest good", "typical good", "highest good", "judged from", "to"):
        table.add_column(name, justify="right")
    for name in {**health.values, **health.limits}:
        limit = health.limits.get(name, Limit())
        found = np.quantile(health.values[name], (0.0, 0.5, 1.0)) if name in health.values else ()
        shown = [STATISTICS[name].shown(float(value)) for value in found] or ["-"] * 3
        ends = [
            "-" if one is None else STATISTICS[name].shown(one) for one in (limit.low, limit.high)
        ]
        table.add_row(name, *shown, *ends)
    console = Console(highlight=False)
    console.width = max(console.width, 120)
    console.print(table)
    click.echo(f"check of pictures: {'on' if health.judge else 'off'}; {health.note or 'no note'}")
    if health.size is not None:
        low, high = health.size.aspect.low, health.size.aspect.high
        shape = " to ".join(f"{one:.3g}" for one in (low, high) if one is not None)
        least = f"{health.size.min_width}x{health.size.min_height}"
        click.echo(f"pictures: width / height {shape or 'any'}, at least {least} pixels")
    for key, most in health.score_limits.items():
        click.echo(f"{key}: raw scores up to {most:.4g} are believed")
    click.echo(
        f"drift test: {'on' if health.drift else 'off'}; a false alarm in "
        f"{health.parts_between_false_alarms:,} parts at most, "
        f"on average; {health.tolerated_share:.1%} of the parts may look however they like"
    )
