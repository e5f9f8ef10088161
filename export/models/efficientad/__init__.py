"""EfficientAD: a student imitates a teacher on good parts alone (Batzner et al., WACV 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.models.base import Grid, ModelFamily
from export.models.efficientad.recipe import MIN_SIDE, EfficientAdRecipe
from export.models.settings import Recipe
from runtime.errors import TrainingError

if TYPE_CHECKING:
    from torch import nn

    from calibration.learning.evidence import Scored
    from calibration.learning.photographs import Photographs
    from export.inference_graph import InferenceGraph


class EfficientAd(ModelFamily):
    """The family; what it does is in this folder."""

    name = "efficientad"
    title = "EfficientAD"
    recipe = EfficientAdRecipe
    int8_attempts = (0.0, 1 / 8, 1 / 4, 1 / 2)

    def fit(
        self, recipe: EfficientAdRecipe, photographs: Photographs, seed: int, folder: Path
    ) -> tuple[nn.Module, Scored | None]:
        """As of any family."""
        from export.models.efficientad.fitting import fit

        return fit(recipe, photographs, seed, folder), None

    def graph(
        self, recipe: EfficientAdRecipe, model: Any, good_scores: tuple[float, float]
    ) -> InferenceGraph:
        """As of any family."""
        from export.models.efficientad.graph import EfficientAdGraph, FeatureEfficientAdGraph

        graph = FeatureEfficientAdGraph if recipe.student == "features" else EfficientAdGraph
        return graph(model.model, recipe.size_hw, good_scores)

    def smoothing(self, model: Any) -> nn.Module:
        """As of any family."""
        smoothing: nn.Module = model.model.smoothing
        return smoothing

    def blur_sigma(self, model: Any) -> float:
        """As training has chosen."""
        return float(model.model.reading.blur_sigma)

    def provenance(self, model: Any) -> dict[str, Any]:
        """How the map is read."""
        return asdict(model.model.reading)

    def checkpoint(self, model: Any) -> dict[str, Any]:
        """Everything but the smoothing's kernel, which follows from the reading."""
        state = model.model.state_dict().items()
        kept = {name: value for name, value in state if not name.startswith("smoothing.")}
        return {"state": kept, "reading": asdict(model.model.reading)}

    def restore(self, recipe: EfficientAdRecipe, seed: int, parts: Mapping[str, Any]) -> nn.Module:
        """As of any family."""
        from export.models.efficientad.fitting import rebuild

        del seed
        return rebuild(recipe, parts)

    def plan(self, recipe: EfficientAdRecipe, grid: Grid) -> list[Recipe]:
        """The sizes that the networks can have."""
        possible = [side for side in grid.sides if side >= MIN_SIDE and side % 64 == 0]
        if not possible:
            raise TrainingError(
                f"--sizes: efficientad expects multiples of 64, at least {MIN_SIDE}, found "
                f"{', '.join(map(str, grid.sides))}; add 256"
            )
        return [replace(recipe, size_hw=(side, side)) for side in possible]


FAMILY = EfficientAd()
