"""``lineside health``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runtime.console import emit_json, wide_console
from runtime.options import FiniteRange, json_option

if TYPE_CHECKING:
    from runtime.health.baseline import Health, Limit

SWITCH = click.Choice(["on", "off"])


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--judge", type=SWITCH, help="Whether pictures outside the limits get the verdict cannot_judge."
)
@click.option("--drift", type=SWITCH, help="Whether the drift test runs.")
@click.option(
    "--limit",
    "limits",
    multiple=True,
    metavar="NAME=LOW:HIGH",
    help="New limits of one number, as the table shows it; an empty side has no limit.",
)
@click.option(
    "--parts-between-false-alarms",
    type=click.IntRange(min=100),
    metavar="N",
    help="Average distance of false drift alarms, at least.",
)
@click.option(
    "--tolerated-share",
    type=FiniteRange(0.0, 0.5),
    metavar="SHARE",
    help="Share of parts that may look however they like without the drift test minding.",
)
@click.option("--seal", is_flag=True, help="Seal health.json as it is, after an edit by hand.")
@json_option
def command(
    bundle: Path,
    judge: str | None,
    drift: str | None,
    limits: tuple[str, ...],
    seal: bool,
    as_json: bool,
    **numbers: float | None,
) -> None:
    """Show or change which pictures a bundle judges, and when it speaks of drift.

    The limits come from pictures of good parts, at export and with every calibration. Changes are
    in force at the next part, without a restart of what runs. The file carries a seal, so that
    an edit in an editor is refused until --seal says that it was meant.

    \b
    Example:
      lineside health tile-patchcore
      lineside health tile-patchcore --limit brightness=40:220 --limit focus=-7:
      lineside health tile-patchcore --drift off
    """
    from runtime.health.editing import edit_health

    changes: dict[str, Any] = {name: value for name, value in numbers.items() if value is not None}
    changes |= {
        name: value == "on"
        for name, value in (("judge", judge), ("drift", drift))
        if value is not None
    }
    found = edit_health(bundle, limits=dict(map(_limit, limits)), seal=seal, **changes)
    if as_json:
        emit_json(_to_json(found))
    else:
        _print(found)


def _limit(text: str) -> tuple[str, Limit]:
    """Read ``NAME=LOW:HIGH``, both as people see them."""
    from runtime.errors import HealthError
    from runtime.health.baseline import Limit
    from runtime.health.statistics import STATISTICS

    name, _, sides = text.partition("=")
    low_text, colon, high_text = sides.partition(":")
    if name not in STATISTICS or not colon:
        raise HealthError(
            f"--limit: expected NAME=LOW:HIGH with NAME one of {', '.join(STATISTICS)}, found "
            f"{text!r}; type e.g. --limit brightness=40:220"
        )
    try:
        low, high = (
            STATISTICS[name].stored(float(one)) if one else None for one in (low_text, high_text)
        )
        return name, Limit(low, high)
    except ValueError as error:
        raise HealthError(
            f"--limit {text}: expected numbers, LOW before HIGH, found: {error}; "
            "type e.g. --limit focus=-7:"
        ) from error


def _to_json(health: Health) -> dict[str, Any]:
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
    import numpy as np
    from rich.table import Table

    from runtime.health.statistics import STATISTICS

    table = Table(box=None, pad_edge=False)
    table.add_column("number", no_wrap=True)
    for name in ("lowest good", "typical good", "highest good", "judged from", "to"):
        table.add_column(name, justify="right")
    for name in {**health.values, **health.limits}:
        limit, shown = health.limits.get(name), STATISTICS[name].shown
        found = np.quantile(health.values[name], (0.0, 0.5, 1.0)) if name in health.values else ()
        ends = (None, None) if limit is None else (limit.low, limit.high)
        table.add_row(
            name,
            *([shown(float(value)) for value in found] or ["-"] * 3),
            *("-" if one is None else shown(one) for one in ends),
        )
    wide_console().print(table)
    click.echo(f"check of pictures: {'on' if health.judge else 'off'}; {health.note or 'no note'}")
    if health.size is not None:
        ends = health.size.aspect.low, health.size.aspect.high
        shape = " to ".join(f"{one:.3g}" for one in ends if one is not None)
        least = f"{health.size.min_width}x{health.size.min_height}"
        click.echo(f"pictures: width / height {shape or 'any'}, at least {least} pixels")
    for key, most in health.score_limits.items():
        click.echo(f"{key}: raw scores up to {most:.4g} are believed")
    click.echo(
        f"drift test: {'on' if health.drift else 'off'}; a false alarm in "
        f"{health.parts_between_false_alarms:,} parts at most, on average; "
        f"{health.tolerated_share:.1%} of the parts may look however they like"
    )
