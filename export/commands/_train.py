"""The work behind ``lineside train``, imported only when it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from export.bundling import Work, write_bundle
from export.data.photographs import read_photographs
from export.recipe import EfficientAdRecipe, PatchCoreRecipe, Recipe
from export.training import train
from runtime.bundle import MANIFEST_FILE
from runtime.dataset import load_category
from runtime.errors import TrainingError
from runtime.manifest import Manifest
from runtime.progress import say


def run(options: dict[str, Any]) -> None:
    """Train, export, certify; say what was made."""
    recipe = recipe_from(options)
    out: Path = options["out"]
    _require_writable(out)
    category = load_category(options["data"], options["category"])
    photographs = read_photographs(category, recipe.size_hw, options["seed"])
    say(
        f"{recipe.model} on {category.name}: {len(photographs.train)} good parts to learn from, "
        f"{len(photographs.held_out)} held out for the threshold"
    )
    trained = train(recipe, photographs, options["seed"])
    say(f"trained in {trained.seconds:.0f} s; exporting")
    work = Work(recipe, category, photographs, trained, options["seed"])
    manifest = write_bundle(work, out, options["name"] or f"{category.name}-{recipe.model}")
    _report(manifest, out)


def recipe_from(options: dict[str, Any]) -> Recipe:
    """Flags to a typed recipe.

    Raises:
        TrainingError: a value out of range.
    """
    layers = tuple(name.strip() for name in (options["layers"] or "").split(",") if name.strip())
    size_hw = (options["size"], options["size"])
    if options["model"] == "patchcore":
        return PatchCoreRecipe(
            backbone=options["backbone"],
            layers=layers,
            backbone_weights=options["backbone_weights"],
            size_hw=size_hw,
            coreset_ratio=options["coreset_ratio"],
            max_prototypes=options["max_prototypes"],
            num_neighbors=options["num_neighbors"],
        )
    steps = {} if options["steps"] is None else {"steps": options["steps"]}
    return EfficientAdRecipe(
        teacher=options["teacher"],
        backbone=options["backbone"],
        layers=layers,
        backbone_weights=options["backbone_weights"],
        teacher_weights=options["teacher_weights"],
        imagenet_dir=options["imagenet_dir"],
        model_size=options["model_size"],
        size_hw=size_hw,
        **steps,
    )


def _require_writable(out: Path) -> None:
    """Refuse to replace anything but a bundle, before an hour is spent on training."""
    if out.exists() and not (out / MANIFEST_FILE).is_file() and (out.is_file() or any(out.iterdir())):
        raise TrainingError(
            f"{out}: expected a new folder or an older bundle, found something else; choose another --out"
        )


def _report(manifest: Manifest, out: Path) -> None:
    for key, parity in manifest.certificate["variants"].items():
        say(
            f"certificate {key}: max score difference {parity['max_score_difference']:.1e} of the range, "
            f"{parity['verdict_flips']} verdict flips on {parity['images']} images"
        )
    say(f"bundle written: {out}")
    say(f"next: lineside inspect {out} PICTURES…   or   lineside evaluate {out} --data DATA")
