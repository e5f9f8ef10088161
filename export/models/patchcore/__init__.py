"""PatchCore: distances to the nearest patches of good parts (Roth et al., CVPR 2022)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calibration.learning.copies import COPIES
from export.models.base import Grid, ModelFamily
from export.models.patchcore.recipe import PatchCoreRecipe
from export.models.settings import Recipe
from runtime.errors import TrainingError

if TYPE_CHECKING:
    from torch import nn

    from calibration.learning.evidence import Scored
    from calibration.learning.photographs import Photographs
    from export.inference_graph import InferenceGraph


# Of a bundle that has learned no part.
_BLANK_PROTOTYPES = 300


class PatchCore(ModelFamily):
    """The family; what it does is in this folder."""

    name = "patchcore"
    title = "PatchCore"
    recipe = PatchCoreRecipe
    # The very first layers take little time and lose most; last the search alone (docs/int8.md).
    int8_attempts = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
    leaves_out = True
    takes_roi = True

    def fit(
        self, recipe: PatchCoreRecipe, photographs: Photographs, seed: int, folder: Path
    ) -> tuple[nn.Module, Scored | None]:
        """As of any family."""
        from export.models.patchcore.model import fit

        return fit(recipe, photographs, seed, folder)

    def graph(
        self, recipe: PatchCoreRecipe, model: Any, good_scores: tuple[float, float]
    ) -> InferenceGraph:
        """As of any family."""
        import torch

        from export.backbones.extractors import normalization_of
        from export.models.patchcore.graph import PatchCoreGraph

        inner = model.model
        if inner.roi is not None:
            # A restored model does not know its grid yet.
            inner.generate_embedding(inner.pooled(torch.zeros(1, 3, *recipe.size_hw)))
        return PatchCoreGraph(
            inner.feature_extractor,
            recipe.resolved_layers(),
            inner.memory_bank,
            normalization_of(recipe.backbone),
            recipe.num_neighbors,
            good_scores,
            inner.projection,
            recipe.score_share,
            recipe.score_blur,
            pooling=recipe.resolved_pooling(),
            inside=inner.inside,
        )

    def blank(self, recipe: PatchCoreRecipe) -> PatchCoreRecipe:
        """The same network with a small bank: teaching puts another in its place."""
        least = recipe.num_neighbors + 1
        return replace(recipe, max_prototypes=max(_BLANK_PROTOTYPES, least))

    def smoothing(self, model: Any) -> nn.Module:
        """As of any family."""
        smoothing: nn.Module = model.model.anomaly_map_generator
        return smoothing

    def blur_sigma(self, model: Any) -> float:
        """anomalib's, whatever was trained."""
        del model
        return 4.0

    def checkpoint(self, model: Any) -> dict[str, Any]:
        """Bank and projection; the backbone comes with the recipe."""
        import torch

        inner = model.model
        projection = inner.projection
        return {
            "memory_bank": inner.memory_bank,
            "copies": model.copies,
            "projection": None if projection is None else projection.weights(),
            "bias": None if projection is None else projection.bias.flatten(),
            "roi": None if inner.roi is None else torch.from_numpy(inner.roi.mask.copy()),
        }

    def restore(self, recipe: PatchCoreRecipe, seed: int, parts: Mapping[str, Any]) -> nn.Module:
        """As of any family."""
        from export.models.patchcore.model import LinesidePatchcore
        from export.projection import Projection
        from runtime.images.roi import RegionOfInterest

        roi = None if parts["roi"] is None else RegionOfInterest(parts["roi"].numpy())
        model = LinesidePatchcore(recipe, seed, roi)
        model.model.memory_bank = parts["memory_bank"]
        model.copies = int(parts["copies"])
        if parts["projection"] is not None:
            model.model.projection = Projection(parts["projection"], parts["bias"])
        return model

    def provenance(self, model: Any) -> dict[str, Any]:
        """How many turned or mirrored copies were learned, if any."""
        return {COPIES: model.copies} if model.copies else {}

    def plan(self, recipe: PatchCoreRecipe, grid: Grid) -> list[Recipe]:
        """The largest bank at every size: every smaller one is a part of it."""
        least = recipe.num_neighbors + 1
        if min(grid.prototypes) < least:
            raise TrainingError(
                f"--prototypes: expected at least {least} (one more than the neighbours of the "
                f"re-weighting), found {min(grid.prototypes)}"
            )
        most = max(grid.prototypes)
        return [
            replace(recipe, size_hw=(side, side), coreset_ratio=1.0, max_prototypes=most)
            for side in grid.sides
        ]

    def derived(
        self, recipe: PatchCoreRecipe, model: Any, grid: Grid
    ) -> Iterator[tuple[Recipe, int | None]]:
        """Every bank, the largest first.

        The greedy coreset is nested: its first k patches are the greedy coreset of size k, exactly
        what a training with ``max_prototypes = k`` would have kept.
        """
        inner = model.model
        bank = inner.memory_bank
        for count in sorted({min(count, len(bank)) for count in grid.prototypes}, reverse=True):
            inner.memory_bank = bank[:count].contiguous()
            yield replace(recipe, max_prototypes=count), count

    def count_derived(self, grid: Grid) -> int:
        """One candidate for each size of the bank."""
        return len(set(grid.prototypes))


FAMILY = PatchCore()
