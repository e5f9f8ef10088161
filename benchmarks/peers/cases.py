"""The checkpoints that are timed: anomalib models with real features in their banks, or untrained students."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from export.layers import DEFAULT_BACKBONE, default_layers
from export.recipe import EfficientAdRecipe, PatchCoreRecipe, Recipe
from runtime.types import UInt8Image

SIZE_HW = (256, 256)


@dataclass(frozen=True)
class Case:
    """One checkpoint to time.

    Attributes:
        model: patchcore or efficientad.
        backbone: timm name; the packaged weights for lite0, random ones for others (time does not
            depend on them).
        bank: rows of the memory bank (PatchCore).
        teacher: EfficientAD's teacher.
        size_hw: input height and width.
        own_recipe: PatchCore as Lineside trains it by default, instead of anomalib's two layers,
            plain patches and re-weighted maximum.
    """

    model: str
    backbone: str = DEFAULT_BACKBONE
    bank: int = 0
    teacher: str = "backbone"
    size_hw: tuple[int, int] = SIZE_HW
    own_recipe: bool = False


CASES = {
    "lite0-2048": Case("patchcore", bank=2048),
    "lite0-20480": Case("patchcore", bank=20480),
    "wrn50-2355": Case("patchcore", "wide_resnet50_2", 2355),
    "wrn50-23552": Case("patchcore", "wide_resnet50_2", 23552),
    "efficientad-pdn": Case("efficientad", teacher="pdn"),
    "efficientad-backbone": Case("efficientad", teacher="backbone"),
}


@dataclass(frozen=True)
class Checkpoint:
    """An anomalib model and the recipe that made it; ``good`` are pictures that it may learn or quantise from."""

    recipe: Recipe
    model: Any
    good: list[UInt8Image]


def pictures(count: int, seed: int = 0, side: int = SIZE_HW[0]) -> list[UInt8Image]:
    """Procedural good parts, uint8 (side, side, 3)."""
    from export.sample_data import render_part

    rng = np.random.default_rng(seed)
    return [render_part("tile", None, rng, side)[0] for _ in range(count)]


def build(case: Case) -> Checkpoint:
    """An anomalib model whose bank holds features of other pictures than the one that is inspected."""
    if case.model == "patchcore":
        return _build_patchcore(case)
    return _build_efficientad(case)


def _build_patchcore(case: Case) -> Checkpoint:
    from export.patchcore import LinesidePatchcore
    from export.projection import fit_projection

    with _random_weights(case.backbone) as weights:
        recipe = PatchCoreRecipe(
            backbone=case.backbone,
            backbone_weights=weights,
            size_hw=case.size_hw,
            max_prototypes=case.bank,
        )
        if not case.own_recipe:
            recipe = replace(
                recipe, layers=default_layers(case.backbone), dimensions=0, score_share=0.0
            )
        model = LinesidePatchcore(recipe, 0).eval()
    inner, layers = model.model, recipe.resolved_layers()
    good: list[UInt8Image] = []
    seen: list[dict[str, torch.Tensor]] = []
    while sum(maps[layers[0]][0, 0].numel() for maps in seen) < case.bank:
        good += pictures(1, seed=1000 + len(good), side=case.size_hw[0])
        seen.append(inner.pooled(model.pre_processor(to_tensor(good[-1]))))
    pooled = {layer: torch.cat([maps[layer] for maps in seen]) for layer in layers}
    if recipe.dimensions:
        inner.projection = fit_projection(pooled, layers, recipe.dimensions, recipe.whitening)
    patches = torch.vstack(
        [inner.reshape_embedding(inner.generate_embedding(maps)) for maps in seen]
    )
    order = torch.randperm(len(patches), generator=torch.Generator().manual_seed(0))
    inner.memory_bank = patches[order[: case.bank]].contiguous()
    return Checkpoint(recipe, model, good)


def _build_efficientad(case: Case) -> Checkpoint:
    from export.efficientad import LinesideEfficientAd

    recipe = EfficientAdRecipe(
        teacher="pdn" if case.teacher == "pdn" else "backbone", size_hw=case.size_hw
    )
    model = LinesideEfficientAd(recipe, None).eval()
    channels = model.model.teacher_out_channels
    model.model.mean_std.update(
        {"mean": torch.zeros(1, channels, 1, 1), "std": torch.ones(1, channels, 1, 1)}
    )
    for branch in ("st", "ae"):
        model.model.quantiles.update(
            {f"qa_{branch}": torch.tensor(0.1), f"qb_{branch}": torch.tensor(0.4)}
        )
    return Checkpoint(recipe, model, pictures(20, seed=1000, side=case.size_hw[0]))


def to_tensor(image: UInt8Image) -> torch.Tensor:
    """float32 (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255.0


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
