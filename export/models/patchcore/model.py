"""anomalib's PatchCore with the backbone's own normalisation, components and a fast coreset."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from anomalib.models import Patchcore
from anomalib.models.components import GaussianBlur2d
from anomalib.models.image.patchcore.torch_model import PatchcoreModel
from anomalib.pre_processing import PreProcessor
from torch import nn
from torchvision.transforms.v2 import Compose, Normalize

from calibration.synthetic import FAINT_KINDS, synthetic_defects
from export.anomalib_engine import GoodPartsModule, fit_with_engine, to_batch
from export.backbone import make_extractor, normalization_of
from export.certificate import PAINTED, Scored, load_images
from export.data.photographs import Photographs, folds_of
from export.models.patchcore.coreset import select_coreset
from export.models.patchcore.graph import patches_scored
from export.models.patchcore.recipe import PatchCoreRecipe
from export.models.patchcore.tiles import TiledExtractor
from export.projection import Features, Projection, fit_projection
from runtime.errors import TrainingError
from runtime.progress import task, track
from runtime.types import Float32Map

_PROJECT_IMAGES = 16


class ProjectedPatchcoreModel(PatchcoreModel):  # type: ignore[misc]
    """anomalib's torch model; only how a patch is described and how a picture is scored may differ.

    Args:
        score_share: the score is the mean of this share of the patches, the most anomalous ones; 0
            means anomalib's re-weighted maximum.
        score_blur: deviation in patches of anomalib's Gaussian over the patches' distances before
            that mean.
        arguments: of anomalib's model.
    """

    def __init__(self, *, score_share: float, score_blur: float = 0.0, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.score_share = score_share
        self.smoothing = (
            GaussianBlur2d(sigma=score_blur, channels=1) if score_blur > 0 else nn.Identity()
        )
        self.grid_hw = (0, 0)
        self.projection: Projection | None = None

    def pooled(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        """Locally averaged maps ``{layer: float32 (n, C, h, w)}`` of normalised pictures."""
        with torch.no_grad():
            return {
                layer: self.feature_pooler(found)
                for layer, found in self.feature_extractor(batch).items()
            }

    def generate_embedding(self, features: dict[str, torch.Tensor]) -> torch.Tensor:
        """Patches (n, D, h, w): projected, or all layers stacked where there is no projection."""
        embed = super().generate_embedding if self.projection is None else self.projection
        patches: torch.Tensor = embed(features)
        # anomalib hands distances on as a flat row.
        self.grid_hw = (patches.shape[-2], patches.shape[-1])
        return patches

    def compute_anomaly_score(
        self, patch_scores: torch.Tensor, locations: torch.Tensor, embedding: torch.Tensor
    ) -> torch.Tensor:
        """Scores of pictures (n,) from those of their patches (n, P)."""
        if self.score_share:
            count = patches_scored(self.score_share, patch_scores.shape[1])
            smooth = self.smoothing(patch_scores.reshape(-1, 1, *self.grid_hw)).flatten(1)
            worst: torch.Tensor = smooth.topk(count, dim=1).values
            return worst.mean(dim=1)
        scores: torch.Tensor = super().compute_anomaly_score(patch_scores, locations, embedding)
        return scores

    def score(self, patches: torch.Tensor) -> tuple[float, Float32Map]:
        """Raw score and map before smoothing, float32 (h, w), of a picture's patches (P, D)."""
        with torch.no_grad():
            distances, places = self.nearest_neighbors(patches, 1)
            score = self.compute_anomaly_score(distances[None], places[None], patches)
        return float(score), distances.reshape(self.grid_hw).cpu().numpy()


class LinesidePatchcore(Patchcore):  # type: ignore[misc]
    """anomalib's PatchCore with another description of patches and another coreset.

    Args:
        recipe: settings.
        seed: of the coreset's first patch.
    """

    def __init__(self, recipe: PatchCoreRecipe, seed: int) -> None:
        normalization = normalization_of(recipe.backbone)
        layers = recipe.resolved_layers()
        extractor = make_extractor(recipe.backbone, layers, recipe.backbone_weights)
        super().__init__(
            backbone=recipe.backbone,
            layers=layers,
            pre_trained=False,
            coreset_sampling_ratio=recipe.coreset_ratio,
            num_neighbors=recipe.num_neighbors,
            pre_processor=PreProcessor(
                Compose([Normalize(list(normalization.mean), list(normalization.std))])
            ),
            post_processor=False,
            evaluator=False,
            visualizer=False,
        )
        self.model = ProjectedPatchcoreModel(
            score_share=recipe.score_share,
            score_blur=recipe.score_blur,
            layers=layers,
            backbone=recipe.backbone,
            pre_trained=False,
            num_neighbors=recipe.num_neighbors,
        )
        self.model.feature_extractor = (
            TiledExtractor(extractor, recipe.tile, recipe.tile_overlap)
            if recipe.tile
            else extractor
        )
        self.recipe = recipe
        self.seed = seed
        self.on_coreset_progress: Any = None
        # For left_out(), after fit(); of many parts they are gigabytes.
        self.keep_patches = False
        self._seen: list[dict[str, torch.Tensor]] = []
        self._paths: list[str] = []
        self._patches_seen = torch.empty(0)

    def training_step(self, batch: Any, *_args: Any, **_kwargs: Any) -> torch.Tensor:
        """Keep the pooled maps of a batch: a fraction of the memory of stacked patches."""
        self._seen.append(self.model.pooled(batch.image))
        self._paths += batch.image_path
        return torch.zeros((), requires_grad=True, device=self.device)

    def fit(self) -> None:
        """Reduce the collected maps to the projection and the memory bank.

        Raises:
            TrainingError: no patches, or patches that are not finite.
        """
        layers = self.recipe.resolved_layers()
        pooled = self._collected()
        self._check_blur(pooled[layers[0]].shape)
        if self.recipe.dimensions:
            self.model.projection = fit_projection(
                pooled, layers, self.recipe.dimensions, self.recipe.whitening
            )
        patches = self._patches(pooled)
        count = min(math.ceil(len(patches) * self.recipe.coreset_ratio), self.recipe.max_prototypes)
        self.model.memory_bank = self._bank(patches, count)
        if self.keep_patches:
            self._patches_seen = patches.reshape(len(pooled[layers[0]]), -1, patches.shape[1])

    def left_out(self, pictures: Sequence[Path]) -> Scored:
        """After fit(): what each picture scores with a bank that is built without it.

        What a patch is, principal components included, comes from all pictures; which patches are
        prototypes comes from the other folds. A fold's bank has its share of the prototypes, so
        that it covers its pictures as densely as the whole bank does.

        Args:
            pictures: those that were learned, at least two, in the order of the result.
        """
        model, whole = self.model, self.model.memory_bank
        seen = {path: place for place, path in enumerate(self._paths)}
        patches = self._patches_seen.to(whole.device)[[seen[str(path)] for path in pictures]]
        self._patches_seen = torch.empty(0)
        fold_of = folds_of(len(pictures), self.recipe.folds, self.seed)
        found: dict[int, tuple[float, Float32Map]] = {}
        painted: list[float] = []
        for fold in track(range(int(fold_of.max()) + 1), "patchcore: leaving parts out in turn"):
            others = patches[torch.from_numpy(fold_of != fold)]
            count = math.ceil(len(whole) * len(others) / len(pictures))
            model.memory_bank = self._bank(others.flatten(0, 1), count)
            for index in np.flatnonzero(fold_of == fold):
                found[int(index)] = model.score(patches[index])
            parts = [pictures[int(index)] for index in np.flatnonzero(fold_of == fold)]
            painted += self._painted(parts, math.ceil(PAINTED * len(parts) / len(pictures)))
        model.memory_bank = whole
        scores, maps = zip(*(found[index] for index in range(len(pictures))), strict=True)
        return Scored(np.array(scores), list(maps), np.array(painted))

    def _painted(self, paths: Sequence[Path], count: int) -> list[float]:
        """Raw scores of so many faint, made-up defects on parts that the bank does not know."""
        images = load_images(paths[:count], self.recipe.size_hw)
        scores: list[float] = []
        # Gone since they were learned.
        if not images:
            return scores
        for defect in synthetic_defects(images, count, self.seed, FAINT_KINDS):
            with torch.no_grad():
                pooled = self.model.pooled(self.pre_processor(to_batch(defect)))
            scores.append(self.model.score(self._patches(pooled))[0])
        return scores

    def _collected(self) -> dict[str, torch.Tensor]:
        """Pooled maps of all pictures, ``{layer: float32 (n, C, h, w)}``."""
        layers = self.recipe.resolved_layers()
        pooled = {
            layer: torch.cat([seen[layer] for seen in self._seen]).float() for layer in layers
        }
        self._seen.clear()
        if not all(bool(torch.isfinite(maps).all()) for maps in pooled.values()):
            raise TrainingError(
                "features: expected finite numbers, found NaN or infinity; check the backbone's "
                "weights"
            )
        return pooled

    def _bank(self, patches: torch.Tensor, count: int) -> torch.Tensor:
        """A memory bank of some of the patches (N, D)."""
        # Of few pictures a small share would be fewer than the recipe allows as an upper bound.
        count = min(max(count, self.recipe.num_neighbors + 1), len(patches))
        chosen = select_coreset(patches, count, self.seed, self.on_coreset_progress)
        return patches[chosen].contiguous()

    def _check_blur(self, shape: torch.Size) -> None:
        """The border is mirrored, so the map must be larger than the Gaussian reaches."""
        reach = int(4.0 * self.recipe.score_blur + 0.5)
        if self.recipe.score_share and reach >= min(shape[-2:]):
            raise TrainingError(
                f"score_blur: expected a map of more than {reach} patches a side, found "
                f"{shape[-2]} x {shape[-1]}; "
                "give a larger --size, or score_blur = 0 in a recipe file"
            )

    def _patches(self, pooled: Features) -> torch.Tensor:
        """Patches of all pictures, float32 (N, D); a few at a time, for stacked maps are large."""
        some = zip(*(torch.split(maps, _PROJECT_IMAGES) for maps in pooled.values()), strict=True)
        embed, flat = self.model.generate_embedding, self.model.reshape_embedding
        return torch.vstack([flat(embed(dict(zip(pooled, maps, strict=True)))) for maps in some])


def fit(
    recipe: PatchCoreRecipe, photographs: Photographs, seed: int, folder: Path
) -> tuple[LinesidePatchcore, Scored | None]:
    """See :meth:`export.models.base.ModelFamily.fit`."""
    data = GoodPartsModule(photographs, recipe.size_hw, batch_size=4, seed=seed)
    model = LinesidePatchcore(recipe, seed)
    model.keep_patches = not photographs.held_out
    steps = len(data.train_dataloader())
    with task("patchcore: features", steps) as advance, task("patchcore: coreset") as coreset:
        model.on_coreset_progress = coreset
        fit_with_engine(model, data, folder, advance, max_epochs=1)
    model.on_coreset_progress = None
    return model, None if photographs.held_out else model.cpu().eval().left_out(photographs.train)
