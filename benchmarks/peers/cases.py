"""The checkpoints that are timed: banks of real features, or untrained students."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from export.anomalib_engine import to_batch
from export.backbones.layers import DEFAULT_BACKBONE, default_layers
from export.models.efficientad.fitting import make_efficientad
from export.models.efficientad.recipe import EfficientAdRecipe
from export.models.patchcore.model import LinesidePatchcore
from export.models.patchcore.recipe import PatchCoreRecipe
from export.models.settings import Recipe
from export.projection import fit_projection
from export.sample_data import render_part
from runtime.types import UInt8Image

SIZE_HW = (256, 256)


@dataclass(frozen=True)
class Checkpoint:
    """An anomalib model and its recipe; ``good`` are pictures to learn or quantise from."""

    recipe: Recipe
    model: Any
    good: list[UInt8Image]


@dataclass(frozen=True)
class PatchCoreCase:
    """PatchCore with features of real pictures in its bank.

    Attributes:
        bank: rows of the memory bank.
        backbone: timm name; the packaged weights for lite0, random ones for others (time does not
            depend on them).
        size_hw: input height and width.
        own_recipe: as Lineside trains it by default, instead of anomalib's two layers, plain
            patches and re-weighted maximum.
    """

    bank: int
    backbone: str = DEFAULT_BACKBONE
    size_hw: tuple[int, int] = SIZE_HW
    own_recipe: bool = False

    def with_own_recipe(self) -> PatchCoreCase | None:
        """As many prototypes of Lineside's own recipe; its scores are not to be compared."""
        return replace(self, own_recipe=True) if self.backbone == DEFAULT_BACKBONE else None

    def build(self) -> Checkpoint:
        """A model whose bank holds features of other pictures than the one that is inspected."""
        with _random_weights(self.backbone) as weights:
            recipe = PatchCoreRecipe(
                backbone=self.backbone,
                backbone_weights=weights,
                size_hw=self.size_hw,
                max_prototypes=self.bank,
            )
            if not self.own_recipe:
                layers = default_layers(self.backbone)
                recipe = replace(recipe, layers=layers, dimensions=0, score_share=0.0)
            model = LinesidePatchcore(recipe, 0).eval()
        inner, layers = model.model, recipe.resolved_layers()
        good: list[UInt8Image] = []
        seen: list[dict[str, torch.Tensor]] = []
        while sum(maps[layers[0]][0, 0].numel() for maps in seen) < self.bank:
            good += pictures(1, seed=1000 + len(good), side=self.size_hw[0])
            seen.append(inner.pooled(model.pre_processor(to_batch(good[-1]))))
        pooled = {layer: torch.cat([maps[layer] for maps in seen]) for layer in layers}
        if recipe.dimensions:
            inner.projection = fit_projection(pooled, layers, recipe.dimensions, recipe.whitening)
        patches = torch.vstack(
            [inner.reshape_embedding(inner.generate_embedding(maps)) for maps in seen]
        )
        order = torch.randperm(len(patches), generator=torch.Generator().manual_seed(0))
        inner.memory_bank = patches[order[: self.bank]].contiguous()
        return Checkpoint(recipe, model, good)


@dataclass(frozen=True)
class EfficientAdCase:
    """EfficientAD with the paper's student, untrained: time is the same whatever it has learned."""

    teacher: Literal["backbone", "pdn"]
    size_hw: tuple[int, int] = SIZE_HW

    def with_own_recipe(self) -> None:
        """Nothing: the two recipes are one."""

    def build(self) -> Checkpoint:
        """A model with statistics of no meaning."""
        recipe = EfficientAdRecipe(teacher=self.teacher, student="pixels", size_hw=self.size_hw)
        model = make_efficientad(recipe, None).eval()
        inner, channels = model.model, model.model.teacher_out_channels
        zeros, ones = torch.zeros(1, channels, 1, 1), torch.ones(1, channels, 1, 1)
        inner.mean_std.update({"mean": zeros, "std": ones})
        low, high = torch.tensor(0.1), torch.tensor(0.4)
        inner.quantiles.update({"qa_st": low, "qb_st": high, "qa_ae": low, "qb_ae": high})
        return Checkpoint(recipe, model, pictures(20, seed=1000, side=self.size_hw[0]))


Case = PatchCoreCase | EfficientAdCase
CASES: dict[str, Case] = {
    "lite0-2048": PatchCoreCase(2048),
    "lite0-20480": PatchCoreCase(20480),
    "wrn50-2355": PatchCoreCase(2355, "wide_resnet50_2"),
    "wrn50-23552": PatchCoreCase(23552, "wide_resnet50_2"),
    # 18 x 18 patches, from 252 pixels.
    "vit-small-2048": PatchCoreCase(2048, "vit_small_patch14_dinov2.lvd142m", (252, 252)),
    "efficientad-pdn": EfficientAdCase("pdn"),
    "efficientad-backbone": EfficientAdCase("backbone"),
}


def pictures(count: int, seed: int = 0, side: int = SIZE_HW[0]) -> list[UInt8Image]:
    """Procedural good parts, uint8 (side, side, 3)."""
    rng = np.random.default_rng(seed)
    return [render_part("tile", None, rng, side)[0] for _ in range(count)]


@contextlib.contextmanager
def _random_weights(backbone: str) -> Iterator[Path | None]:
    """A state dict of random weights for backbones whose real ones would need a download."""
    if backbone == DEFAULT_BACKBONE:
        yield None
        return
    import timm

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.pth"
        torch.save(timm.create_model(backbone, pretrained=False).state_dict(), path)
        yield path
