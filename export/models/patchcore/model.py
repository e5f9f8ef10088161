"""anomalib's PatchCore with the backbone's own normalisation, components and a fast coreset."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from anomalib.models import Patchcore
from anomalib.models.components import GaussianBlur2d
from anomalib.models.image.patchcore.torch_model import PatchcoreModel
from anomalib.pre_processing import PreProcessor
from torch import nn
from torchvision.transforms.v2 import Compose, Normalize

from export.anomalib_engine import GoodPartsModule, fit_with_engine, to_batch
from export.backbone import make_extractor, normalization_of
from export.certificate import ReferenceModel, Scored, load_images, score_reference
from export.data.photographs import Photographs
from export.models.patchcore.coreset import select_coreset
from export.models.patchcore.graph import patches_scored
from export.models.patchcore.recipe import PatchCoreRecipe
from export.models.patchcore.tiles import TiledExtractor
from export.projection import Features, Projection, fit_projection
from runtime.errors import TrainingError
from runtime.progress import task

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
        # Pictures that come with learn(), after fit(): their share of the prototypes waits for
        # them.
        self.pictures_to_come = 0
        self._seen: list[dict[str, torch.Tensor]] = []
        self._patches_seen = torch.empty(0)
        self._chosen = torch.empty(0, dtype=torch.int64)

    def training_step(self, batch: Any, *_args: Any, **_kwargs: Any) -> torch.Tensor:
        """Keep the pooled maps of a batch: a fraction of the memory of stacked patches."""
        self._seen.append(self.model.pooled(batch.image))
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
        pictures = len(pooled[layers[0]])
        count = self._prototypes(len(patches) * (pictures + self.pictures_to_come) // pictures)
        self._select(
            patches, min(-(-count * pictures // (pictures + self.pictures_to_come)), len(patches))
        )

    def learn(self, pictures: Iterable[torch.Tensor]) -> None:
        """After fit(): let the greedy selection go on, over the pictures to come too.

        No prototype is lost, so no patch gets farther from the nearest one.

        Args:
            pictures: float32 (n, 3, H, W) in [0, 1], RGB.
        """
        self._seen = [self.model.pooled(self.pre_processor(batch)) for batch in pictures]
        more = self._patches(self._collected())
        patches = torch.vstack([self._patches_seen.to(more.device), more])
        # Gigabytes, of many parts: they go before the selection makes its own copy.
        self._patches_seen, self.pictures_to_come = torch.empty(0), 0
        self._select(patches, self._prototypes(len(patches)), self._chosen)

    def _collected(self) -> dict[str, torch.Tensor]:
        """Pooled maps of all pictures since the last time, ``{layer: float32 (n, C, h, w)}``."""
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

    def _prototypes(self, patches: int) -> int:
        """How many of so many patches become prototypes."""
        count = min(math.ceil(patches * self.recipe.coreset_ratio), self.recipe.max_prototypes)
        # Of few pictures a small share would be fewer than the recipe allows as an upper bound.
        return min(max(count, self.recipe.num_neighbors + 1), patches)

    def _select(self, patches: torch.Tensor, count: int, start: torch.Tensor | None = None) -> None:
        """Make the memory bank of patches (N, D), beginning with those chosen before."""
        self._chosen = select_coreset(patches, count, self.seed, self.on_coreset_progress, start)
        self.model.memory_bank = patches[self._chosen].contiguous()
        self._patches_seen = patches if self.pictures_to_come else torch.empty(0)

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
