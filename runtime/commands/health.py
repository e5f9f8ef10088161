"""``lineside health``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from runtime.options import FiniteRange, json_option

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
@json_option
def command(bundle: Path, as_json: bool, **changes: Any) -> None:
    """Show or change which pictures a bundle judges, and when it speaks of drift.

    The limits come from pictures of good parts, at export and with every calibration. Changes are
    in force at the next part, without a restart of what runs.

    \b
    Example:
      lineside health tile-patchcore
      lineside health tile-patchcore --limit brightness=40:220 --limit focus=-7:
      lineside health tile-patchcore --drift off
    """
    from runtime.commands._health import run

    run(bundle, changes, as_json=as_json)
