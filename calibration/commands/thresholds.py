"""``lineside thresholds``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from runtime.options import json_option


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("action", type=click.Choice(["show", "history", "set", "rollback"]), default="show")
@click.option(
    "--image-threshold",
    type=float,
    metavar="X",
    help="With set: raw score above which a part is anomalous.",
)
@click.option(
    "--pixel-threshold",
    type=float,
    metavar="X",
    help="With set: raw map value above which a pixel is.",
)
@click.option("--note", default="", help="With set: why, for those who come later.")
@click.option(
    "--engine",
    type=click.Choice(["openvino", "onnxruntime"]),
    help="Only this engine.  [default: all]",
)
@click.option("--precision", help="Only this precision.  [default: all]")
@json_option
def command(bundle: Path, action: str, as_json: bool, **options: Any) -> None:
    """Show a bundle's thresholds, set them by hand, or go back to the ones before.

    Every earlier threshold is kept. A running app takes a change up without a restart.

    \b
    Example:
      lineside thresholds tile-patchcore
      lineside thresholds tile-patchcore set --image-threshold 21.5 --engine openvino --note "agreed with QA"
      lineside thresholds tile-patchcore rollback
    """
    given = [options["image_threshold"], options["pixel_threshold"]]
    if action == "set" and given == [None, None]:
        raise click.UsageError("set needs --image-threshold X, --pixel-threshold X, or both")
    if action != "set" and given != [None, None]:
        raise click.UsageError(
            f"--image-threshold and --pixel-threshold belong to 'set', not to '{action}'"
        )
    from calibration.commands._thresholds import run

    run(bundle, action, options, as_json=as_json)
