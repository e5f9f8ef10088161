"""``lineside evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from runtime.options import engine_options, json_option


@click.command()
@click.argument(
    "bundles", nargs=-1, required=True, metavar="BUNDLE...", type=click.Path(path_type=Path)
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    help="MVTec-style root, or one category's folder: test/good, test/<defect>, "
    "ground_truth/<defect>.",
)
@click.option("--category", help="Category below --data.  [default: the bundle's own]")
@engine_options
@json_option
def command(
    bundles: tuple[Path, ...], data: Path, category: str | None, as_json: bool, **engine: Any
) -> None:
    """Measure bundles on labelled test parts: AUROC, F1, per-region overlap, errors at the threshold in force.

    Every part goes through the exported model and the threshold as on the line. Several bundles
    make one row each and an average per model. Undefined figures (no good part, no mask) are shown
    as "-" and are null in JSON.

    \b
    Example:
      lineside evaluate tile-patchcore tile-efficientad --data parts
      lineside evaluate tile-patchcore --data parts --category tile --json
    """
    from runtime.errors import require_extra

    require_extra("calibrate", "sklearn", "scipy")
    from calibration.commands._evaluate import run

    run(bundles, data, category, engine, as_json=as_json)
