"""``lineside inspect``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from runtime.options import engine_options, json_option


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@engine_options
@click.option(
    "--save-maps",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write heat maps over the parts.",
)
@click.option("--fail-on-anomaly", is_flag=True, help="Exit with 3 unless every part is good.")
@json_option
def command(
    bundle: Path,
    paths: tuple[Path, ...],
    save_maps: Path | None,
    fail_on_anomaly: bool,
    as_json: bool,
    **engine: Any,
) -> None:
    """Inspect pictures, or folders of them, and print a verdict for each.

    A file that is no readable picture is reported and skipped; the command then exits with 1 at the
    end. A picture that cannot be judged (out of focus, too dark, ...) says why; --fail-on-anomaly
    counts it like a flagged part, for nobody has found it good.

    \b
    Example:
      lineside inspect tile-patchcore parts/tile/test/crack --save-maps maps
      lineside inspect tile-patchcore photo.png --json
    """
    from runtime.commands._inspect import run

    counts = run(bundle, paths, engine, save_maps=save_maps, as_json=as_json)
    if counts.unreadable:
        sys.exit(1)
    if fail_on_anomaly and (counts.anomalous or counts.cannot_judge):
        sys.exit(3)
