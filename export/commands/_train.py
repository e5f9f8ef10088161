"""The work behind ``lineside train``, imported only when it is asked for."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from export.data.photographs import read_photographs
from export.recipe import Recipe
from export.recipe_file import RECIPES, make_recipe, read_recipe_file
from runtime.bundle.folder import MANIFEST_FILE
from runtime.bundle.manifest import Manifest
from runtime.console import say
from runtime.errors import LinesideError, TrainingError
from runtime.images.dataset import load_category

_FLAGS = (
    "model",
    "backbone",
    "backbone_weights",
    "layers",
    "tile",
    "tile_overlap",
    "coreset_ratio",
    "max_prototypes",
    "dimensions",
    "score_share",
    "num_neighbors",
    "learn_held_out",
    "teacher",
    "student",
    "teacher_weights",
    "imagenet_dir",
    "model_size",
    "steps",
)


def run(options: dict[str, Any]) -> None:
    """Train, export, certify; say what was made."""
    recipe = recipe_from(options)
    out: Path = options["out"]
    require_writable(out)
    category = load_category(options["data"], options["category"])
    photographs = read_photographs(category, recipe.size_hw, options["seed"])
    say(
        f"{recipe.model} on {category.name}: {len(photographs.train)} good parts to learn from, "
        f"{len(photographs.held_out)} held out for the threshold"
    )
    # anomalib and torch take seconds to import: what is wrong with the settings or the data is said
    # before.
    from export.bundling import Work, write_bundle
    from export.kept import KeptModel
    from export.training import train

    seed: int = options["seed"]
    kept = KeptModel(out, recipe, photographs, seed)
    trained = kept.load()
    if trained is None:
        trained = train(recipe, photographs, seed)
        say(f"trained in {trained.seconds:.0f} s; exporting")
        kept.save(trained)
    else:
        say("trained already, by a run that was interrupted; exporting")
    try:
        manifest = write_bundle(
            Work(recipe, category, photographs, trained, seed),
            out,
            options["name"] or f"{category.name}-{recipe.model}",
        )
    except LinesideError:
        # The same model would fail again.
        kept.remove()
        raise
    kept.remove()
    _report(manifest, out)
    if trained.unseen is not None:
        say(
            f"held-out parts that were learned too: {len(photographs.held_out)}; lineside "
            "calibrate needs other good parts"
        )


def recipe_from(options: dict[str, Any]) -> Recipe:
    """A typed recipe from the file, if there is one, and the flags that were given, which win.

    Raises:
        TrainingError: a value out of range, a flag of the other model, or neither flag nor file
            says which model.
    """
    file: Path | None = options["recipe"]
    settings: dict[str, Any] = read_recipe_file(file) if file is not None else {}
    given = {name: options[name] for name in _FLAGS if options[name] is not None}
    if "layers" in given:
        given["layers"] = tuple(name.strip() for name in given["layers"].split(",") if name.strip())
    if options["size"] is not None:
        given["size_hw"] = (options["size"], options["size"])
    model = given.get("model") or settings.get("model")
    if model is None:
        raise TrainingError(
            "train: expected --model patchcore or efficientad, or --recipe FILE, found neither"
        )
    if settings and model != settings["model"]:
        raise TrainingError(
            f"--model {model}: expected the recipe's model, found {settings['model']}; leave "
            "--model out"
        )
    foreign = sorted(given.keys() - {field.name for field in fields(RECIPES[model])})
    if foreign:
        flags = ", ".join(_flag(name, given[name]) for name in foreign)
        raise TrainingError(
            f"{flags}: expected settings of {model}, found one of the other model; leave it out"
        )
    return make_recipe({**settings, **given})


def _flag(name: str, value: object) -> str:
    """An option as it was typed."""
    return f"--{'no-' if value is False else ''}{name.replace('_', '-')}"


def require_writable(out: Path) -> None:
    """Refuse to replace anything but a bundle, before an hour is spent on training."""
    if (
        out.exists()
        and not (out / MANIFEST_FILE).is_file()
        and (out.is_file() or any(out.iterdir()))
    ):
        raise TrainingError(
            f"{out}: expected a new folder or an older bundle, found something else; choose "
            "another --out"
        )


def _report(manifest: Manifest, out: Path) -> None:
    for key, parity in manifest.certificate["variants"].items():
        say(
            f"certificate {key}: max score difference {parity['max_score_difference']:.1e} of the "
            "range, "
            f"{parity['verdict_flips']} verdict flips on {parity['images']} images{_auroc(parity)}"
        )
    say(f"bundle written: {out}")
    say(f"next: lineside inspect {out} PICTURES…   or   lineside evaluate {out} --data DATA")


def _auroc(parity: dict[str, Any]) -> str:
    before, after = parity["image_auroc_reference"], parity["image_auroc"]
    return (
        "" if before is None else f", image AUROC on them {before:.3f} before and {after:.3f} after"
    )
