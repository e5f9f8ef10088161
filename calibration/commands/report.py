"""``lineside report``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from runtime.options import engine_options


@click.command()
@click.argument(
    "bundles", nargs=-1, required=True, metavar="BUNDLE...", type=click.Path(path_type=Path)
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    help="MVTec-style root, or one category's folder.",
)
@click.option("--category", help="Category below --data.  [default: each bundle's own]")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="HTML file to write.",
)
@click.option(
    "--pictures",
    type=click.IntRange(min=0),
    default=4,
    show_default=True,
    help="Largest number of misses, of false alarms and of hits to show.",
)
@click.option(
    "--all-variants",
    is_flag=True,
    help="Also measure every other engine and precision in each bundle.",
)
@engine_options
def command(
    bundles: tuple[Path, ...],
    data: Path,
    category: str | None,
    out: Path,
    pictures: int,
    all_variants: bool,
    **engine: Any,
) -> None:
    """Write one HTML file about bundles: tables, curves, heat maps, certificates.

    It needs no network and prints well. The first page holds the image AUROC by category for each
    model and its average.

    \b
    Example:
      lineside report tile-patchcore tile-efficientad --data parts --out report.html
    """
    from runtime.errors import require_extra

    require_extra("calibrate", "sklearn", "scipy", "jinja2")
    from calibration.report.page import write_report
    from runtime.console import say

    chapters = write_report(
        bundles,
        data,
        out,
        category=category,
        pictures=pictures,
        all_variants=all_variants,
        **engine,
    )
    say(f"{out}: {len(chapters)} bundles, {out.stat().st_size / 2**20:.1f} MiB")
    click.echo(out)
