"""Fitting PatchCore: one pass over the good parts, then the coreset."""

from __future__ import annotations

from pathlib import Path

from export.anomalib_engine import GoodPartsModule, fit_with_engine, to_batch
from export.data.photographs import Photographs
from export.models.patchcore.model import LinesidePatchcore
from export.models.patchcore.recipe import PatchCoreRecipe
from export.reference import ReferenceModel, Scored, load_images, score_reference
from runtime.progress import task


def fit(
    recipe: PatchCoreRecipe, photographs: Photographs, seed: int, folder: Path
) -> tuple[LinesidePatchcore, Scored | None]:
    """See :meth:`export.models.base.ModelFamily.fit`."""
    data = GoodPartsModule(photographs, recipe.size_hw, batch_size=4, seed=seed)
    model = LinesidePatchcore(recipe, seed)
    if recipe.learn_held_out:
        model.pictures_to_come = len(photographs.held_out)
    steps = len(data.train_dataloader())
    with task("patchcore: features", steps) as advance, task("patchcore: coreset") as coreset:
        model.on_coreset_progress = coreset
        fit_with_engine(model, data, folder, advance, max_epochs=1)
    if not recipe.learn_held_out:
        return model, None
    model.cpu().eval()
    held_out = load_images(photographs.held_out, recipe.size_hw)
    smoothing = model.model.anomaly_map_generator
    unseen = score_reference(ReferenceModel(model, smoothing), held_out, "threshold")
    with task("patchcore: coreset") as coreset:
        model.on_coreset_progress = coreset
        model.learn(map(to_batch, held_out))
    return model, unseen
