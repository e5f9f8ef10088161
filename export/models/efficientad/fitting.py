"""Fitting EfficientAD: the student, its errors evened out, and how the map is read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from calibration.learning.photographs import Photographs
from export.anomalib_engine import GoodPartsModule, fit_with_engine, to_batch
from export.models.efficientad.feature_student import FeatureEfficientAd
from export.models.efficientad.model import LinesideEfficientAd
from export.models.efficientad.reading import MapReading, choose_reading
from export.models.efficientad.recipe import EfficientAdRecipe
from export.models.efficientad.residuals import mixing, whiten_residuals
from export.sample_data.scenes import write_scenes
from runtime.images.preprocess import load_image
from runtime.progress import task, track

PROCEDURAL_SCENES = 200
# Thousands of patches each: more parts change the covariance of the errors little.
WHITENING_PARTS = 40


def fit(
    recipe: EfficientAdRecipe, photographs: Photographs, seed: int, folder: Path
) -> LinesideEfficientAd:
    """See :meth:`export.models.base.ModelFamily.fit`."""
    data = GoodPartsModule(photographs, recipe.size_hw, batch_size=1, seed=seed)
    scenes, steps = recipe.imagenet_dir, recipe.resolved_steps()
    if scenes is None and recipe.teacher == "backbone":
        scenes = folder / "scenes"
        write_scenes(scenes, PROCEDURAL_SCENES, seed, recipe.size_hw[0])
    model = make_efficientad(recipe, scenes)
    # A fifth faster on CPUs: their convolutions want the channels last.
    model.model.to(memory_format=torch.channels_last)
    with task("efficientad", steps) as advance:
        precision = "bf16-mixed" if _bf16_is_fast() else "32-true"
        fit_with_engine(model, data, folder, advance, max_steps=steps, precision=precision)
    finish(model, data, photographs, recipe, seed)
    return model


def finish(
    model: LinesideEfficientAd,
    data: GoodPartsModule,
    photographs: Photographs,
    recipe: EfficientAdRecipe,
    seed: int,
) -> None:
    """What follows the last step."""
    model.cpu().eval()
    model.model.to(memory_format=torch.contiguous_format)
    if recipe.student == "pixels":
        learned = track(photographs.train[:WHITENING_PARTS], "efficientad: errors on good parts")
        pictures = (to_batch(load_image(path, recipe.size_hw)) for path in learned)
        whiten_residuals(model.model, pictures, recipe.whitening)
    model.model.quantiles.update(model.map_norm_quantiles(data.val_dataloader()))
    shares = model.student_shares
    model.model.read_as(
        choose_reading(model.model, photographs.held_out, recipe.size_hw, seed, shares)
    )


def make_efficientad(recipe: EfficientAdRecipe, imagenet_dir: Path | None) -> LinesideEfficientAd:
    """The model that a recipe asks for, not yet trained.

    Args:
        recipe: settings.
        imagenet_dir: folder of folders of everyday pictures for the penalty term of a student of
            pixels.
    """
    if recipe.student == "features":
        return FeatureEfficientAd(recipe)
    return LinesideEfficientAd(recipe, imagenet_dir)


def rebuild(recipe: EfficientAdRecipe, parts: Mapping[str, Any]) -> LinesideEfficientAd:
    """The model of a checkpoint."""
    model = make_efficientad(recipe, None)
    inner = model.model
    if recipe.whitening and recipe.student == "pixels":
        inner.teacher = nn.Sequential(inner.teacher, mixing(inner.teacher_out_channels))
    inner.load_state_dict(parts["state"])
    inner.smooth_as(MapReading(**parts["reading"]))
    return model


def _bf16_is_fast() -> bool:
    """Whether bf16 autocast pays: where the processor has it; elsewhere it is emulated."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
