"""``lineside get-data``."""

from __future__ import annotations

from pathlib import Path

import click

from runtime.options import json_option


@click.command("get-data")
@click.argument("dataset", type=click.Choice(["mvtec"]))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--category",
    "categories",
    multiple=True,
    help="Keep only this category; may be repeated.  [default: all]",
)
@click.option(
    "--archive",
    type=click.Path(path_type=Path),
    help="An archive that is already here, instead of a download.",
)
@json_option
def command(
    dataset: str, out: Path, categories: tuple[str, ...], archive: Path | None, as_json: bool
) -> None:
    """Download MVTec AD (4.9 GB, 15 categories) through anomalib's downloader and check its sha256.

    MVTec AD is licensed CC BY-NC-SA 4.0: not for commercial use. Categories that are there already
    are left alone.

    \b
    Example:
      lineside get-data mvtec data --category tile --category leather
    """
    from runtime.errors import require_extra

    require_extra("train", "anomalib")
    from export.data.mvtec import LICENCE, fetch
    from runtime.console import emit_json, say

    say(LICENCE)
    kept = fetch(out, categories, archive=archive)
    if as_json:
        emit_json({"dataset": dataset, "path": str(out), "categories": kept})
    else:
        click.echo(f"{out}: {', '.join(kept)}")
