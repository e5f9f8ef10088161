"""``lineside train``."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from export.commands.options import (
    PACKAGES,
    ModelCommand,
    given_settings,
    training_options,
    typed_flag,
)
from runtime.options import first_threshold_option

if TYPE_CHECKING:
    from export.models.settings import Recipe
    from runtime.bundle.manifest import Manifest


@click.command(cls=ModelCommand)
@click.option("--model", help="Which model to train.")
@click.option(
    "--recipe",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Settings in TOML, see docs/recipes.md; flags win over them.",
)
@training_options
@click.option(
    "--blank",
    is_flag=True,
    is_eager=True,
    help="PatchCore: the network alone, with no part learned and no --data, for a box that is "
    "taught its parts.",
)
@first_threshold_option
@click.option(
    "--roi",
    metavar="X,Y,W,H|MASK",
    help="Learn and judge this region alone: a box in pixels of the pictures, or in shares of them "
    "(0.1,0.1,0.8,0.8), or a mask picture, white inside.",
)
def command(
    model: str | None,
    file: Path | None,
    data: Path | None,
    category: str | None,
    out: Path,
    name: str | None,
    seed: int,
    blank: bool,
    max_false_rejects: float,
    roi: str | None,
    **options: Any,
) -> None:
    """Train a model on good parts and export it as a bundle.

    The bundle holds the model for OpenVINO and ONNX Runtime, its threshold, and the parity
    certificate against anomalib's own torch prediction; if that fails, no bundle is written.

    \b
    Example:
      lineside train --model patchcore --data parts --category tile --out tile-patchcore
      lineside train --model efficientad --data photographs/good --out screws --steps 3000
      lineside train --model patchcore --data photographs/good --out lids --roi 120,80,600,400
      lineside train --model patchcore --blank --out base
    """
    if blank and (data or category or roi):
        raise click.UsageError("--blank learns no part: expected none of --data, --category, --roi")
    from runtime.errors import require_extra

    require_extra("train", *PACKAGES)
    # anomalib warns of its own deprecated modules while it is imported.
    warnings.simplefilter("ignore")
    from export.training import train_bundle

    recipe = recipe_from(model, file, given_settings(options))
    if data is None:
        from export.blank import blank_bundle

        blank_bundle(recipe, out, name, seed)
        _tell_blank(out)
        return
    _tell(train_bundle(recipe, data, out, category, name, seed, max_false_rejects, roi), out)


def recipe_from(model: str | None, file: Path | None, given: dict[str, Any]) -> Recipe:
    """A typed recipe from the file, if there is one, and the flags that were given, which win.

    Raises:
        TrainingError: a value out of range, a flag of another model, or neither flag nor file says
            which model.
    """
    from export.recipes import field_names, make_recipe, model_names, read_recipe_file
    from runtime.errors import TrainingError

    settings = read_recipe_file(file) if file is not None else {}
    model = model or settings.get("model")
    if model is None:
        raise TrainingError(
            f"train: expected --model {' or '.join(model_names())}, or --recipe FILE, found neither"
        )
    if settings and model != settings["model"]:
        raise TrainingError(
            f"--model {model}: expected the recipe's model, found {settings['model']}; leave "
            "--model out"
        )
    foreign = sorted(given.keys() - set(field_names(model)))
    if foreign:
        flags = ", ".join(typed_flag(name, given[name]) for name in foreign)
        raise TrainingError(
            f"{flags}: expected settings of {model}, found one of another model; leave it out"
        )
    return make_recipe({**settings, **given, "model": model})


def _tell_blank(out: Path) -> None:
    from runtime.console import say

    say(f"bundle written: {out}")
    say(
        f"it has learned no part and judges none; next: lineside teach {out} --good DIR --out NEW "
        "--name PART"
    )


def _tell(manifest: Manifest, out: Path) -> None:
    from runtime.console import say

    for key, parity in manifest.certificate["variants"].items():
        before, after = parity["image_auroc_reference"], parity["image_auroc"]
        on_them = (
            ""
            if before is None
            else f", image AUROC on them {before:.3f} before and {after:.3f} after"
        )
        say(
            f"certificate {key}: max score difference {parity['max_score_difference']:.1e} of the "
            f"range, {parity['verdict_flips']} verdict flips on {parity['images']} images"
            f"{on_them}"
        )
    say(f"bundle written: {out}")
    say(f"next: lineside inspect {out} PICTURES…   or   lineside evaluate {out} --data DATA")
