"""A model of a few lines: how far every pixel is from the mean of good parts."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from calibration.learning.evidence import Scored, load_images
from calibration.learning.photographs import Photographs
from export.anomalib_engine import to_batch
from export.inference_graph import InferenceGraph, Uint8Input
from export.models.base import Grid, ModelFamily
from export.models.settings import Recipe, require, setting
from runtime.engines.base import ANOMALY_MAP, EMBEDDING, PRED_SCORE

Said = namedtuple("Said", "pred_score anomaly_map")


@dataclass(frozen=True)
class PixelRecipe(Recipe):
    model: Literal["pixels"] = "pixels"
    least: float = field(default=0.02, metadata=setting("least deviation of a pixel"))

    def __post_init__(self) -> None:
        require(self.least > 0, "--least", "more than 0", self.least)


class PixelModel(nn.Module):
    """float32 (1, 3, H, W) in [0, 1] to a score and a map (1, 1, H, W)."""

    def __init__(self, mean: torch.Tensor, deviation: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)
        self.smoothing = nn.Identity()

    def away(self, batch: torch.Tensor) -> torch.Tensor:
        return (batch - self.mean) / self.deviation

    def forward(self, batch: torch.Tensor) -> Said:
        found = self.smoothing(self.away(batch).square().mean(dim=1, keepdim=True).sqrt())
        return Said(found.amax(dim=(1, 2, 3)), found)


class PixelGraph(InferenceGraph):
    def __init__(self, model: PixelModel) -> None:
        super().__init__()
        self.input, self.model = Uint8Input(None), model

    def features(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (self.model.away(self.input(image)),)

    def read(self, *features: torch.Tensor) -> dict[str, torch.Tensor]:
        away = features[0]
        found = away.square().mean(dim=1, keepdim=True).sqrt()
        where = F.normalize(F.avg_pool2d(away, 16).flatten(1), dim=1)
        return {PRED_SCORE: found.amax(dim=(1, 2, 3)), ANOMALY_MAP: found, EMBEDDING: where}


class PixelFamily(ModelFamily):
    name = "pixels"
    title = "Pixels"
    recipe = PixelRecipe

    def fit(
        self, recipe: PixelRecipe, photographs: Photographs, seed: int, folder: Path
    ) -> tuple[nn.Module, Scored | None]:
        parts = torch.cat([to_batch(one) for one in load_images(photographs.train, recipe.size_hw)])
        deviation = parts.std(dim=0, keepdim=True).clamp_min(recipe.least)
        return PixelModel(parts.mean(dim=0, keepdim=True), deviation), None

    def graph(self, recipe: PixelRecipe, model: Any, good_scores: object) -> InferenceGraph:
        return PixelGraph(model)

    def smoothing(self, model: Any) -> nn.Module:
        smoothing: nn.Module = model.smoothing
        return smoothing

    def blur_sigma(self, model: Any) -> float:
        return 0.0

    def checkpoint(self, model: Any) -> dict[str, Any]:
        return {"mean": model.mean, "deviation": model.deviation}

    def restore(self, recipe: PixelRecipe, seed: int, parts: Mapping[str, Any]) -> nn.Module:
        return PixelModel(parts["mean"], parts["deviation"])

    def plan(self, recipe: PixelRecipe, grid: Grid) -> list[Recipe]:
        return [replace(recipe, size_hw=(side, side)) for side in grid.sides]
