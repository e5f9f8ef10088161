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

from calibration.learning.copies import Copies, copies_of, with_copies
from calibration.learning.coreset import select_coreset
from calibration.learning.distances import Places
from calibration.learning.evidence import Scored, load_images
from calibration.learning.leave_one_out import LeaveOneOut
from calibration.learning.made_up import as_scores, score_made_up, share_of_part
from calibration.learning.patch_scores import blur_reach, patches_scored
from calibration.learning.photographs import Photographs
from export.anomalib_engine import GoodPartsModule, fit_with_engine, to_batch
from export.backbones.extractors import make_extractor, normalization_of
from export.models.patchcore.graph import local_average
from export.models.patchcore.inside import Inside, MaskedExtractor
from export.models.patchcore.recipe import PatchCoreRecipe
from export.models.patchcore.tiles import TiledExtractor
from export.projection import Features, Projection, fit_projection
from runtime.errors import TrainingError
from runtime.images.roi import RegionOfInterest
from runtime.progress import task, track
from runtime.types import Float32, Float32Map, UInt8Image

_PROJECT_IMAGES = 16


class ProjectedPatchcoreModel(PatchcoreModel):  # type: ignore[misc]
    """anomalib's torch model; only how a patch is described and how a picture is scored may differ.

    Args:
        score_share: the score is the mean of this share of the patches, the most anomalous ones; 0
            means anomalib's re-weighted maximum.
        score_blur: deviation in patches of anomalib's Gaussian over the patches' distances before
            that mean.
        roi: inside which alone a picture is judged.
        arguments: of anomalib's model.
    """

    def __init__(
        self,
        *,
        score_share: float,
        score_blur: float = 0.0,
        roi: RegionOfInterest | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self.roi = roi
        self.inside: Inside | None = None
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
        if self.roi is not None and (self.inside is None or self.inside.grid_hw != self.grid_hw):
            self.inside = Inside(self.roi, self.grid_hw, self.smoothing, patches.device)
        return patches

    def nearest_neighbors(
        self, embedding: torch.Tensor, n_neighbors: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As anomalib's; whole pictures' patches (n * P, D) outside of the region are at 0."""
        distances, places = super().nearest_neighbors(embedding, n_neighbors)
        if self.inside is not None and n_neighbors == 1:
            cells = self.inside.cells.flatten()
            distances = (distances.reshape(-1, len(cells)) * cells).flatten()
        return distances, places

    def compute_anomaly_score(
        self, patch_scores: torch.Tensor, locations: torch.Tensor, embedding: torch.Tensor
    ) -> torch.Tensor:
        """Scores of pictures (n,) from those of their patches (n, P)."""
        if self.score_share:
            smooth = self.smoothing(patch_scores.reshape(-1, 1, *self.grid_hw))
            count = patch_scores.shape[1]
            if self.inside is not None:
                smooth, count = smooth * self.inside.weights, self.inside.count
            scored = patches_scored(self.score_share, count)
            worst: torch.Tensor = smooth.flatten(1).topk(scored, dim=1).values
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
        roi: inside which alone parts are learned and judged.
    """

    def __init__(
        self, recipe: PatchCoreRecipe, seed: int, roi: RegionOfInterest | None = None
    ) -> None:
        normalization = normalization_of(recipe.backbone)
        layers = recipe.resolved_layers()
        seen = (recipe.tile, recipe.tile) if recipe.tile else recipe.size_hw
        extractor = make_extractor(recipe.backbone, layers, recipe.backbone_weights, seen)
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
            roi=roi,
            layers=layers,
            backbone=recipe.backbone,
            pre_trained=False,
            num_neighbors=recipe.num_neighbors,
        )
        if recipe.tile:
            extractor = TiledExtractor(extractor, recipe.tile, recipe.tile_overlap)
        if roi is not None:
            extractor = MaskedExtractor(extractor, roi)
        self.model.feature_extractor = extractor
        self.model.feature_pooler = local_average(recipe.resolved_pooling())
        self.recipe = recipe
        self.seed = seed
        self.on_coreset_progress: Any = None
        # For left_out(), after fit(); of many parts they are gigabytes.
        self.keep_patches = False
        self._seen: list[dict[str, torch.Tensor]] = []
        self._paths: list[str] = []
        # Copies that were learned.
        self.copies = 0
        self._learned: tuple[Float32, Places, Copies | None] | None = None

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
        first = pooled[layers[0]]
        self._check_blur(first.shape[-2:])
        counting = self._counting(first)
        if self.recipe.dimensions:
            self.model.projection = fit_projection(
                pooled, layers, self.recipe.dimensions, self.recipe.whitening, counting
            )
        patches = self._patches(pooled)
        if counting is not None:
            patches = patches[counting.repeat(len(first))]
        own = patches.cpu().numpy()
        copies = copies_of(
            self._described,
            [Path(path) for path in self._paths],
            self.recipe.augment,
            self.recipe.size_hw,
            self.model.roi,
        )
        self.copies = 0 if copies is None else copies.count
        rows = with_copies(own, copies)
        count = math.ceil(len(rows) * self.recipe.coreset_ratio)
        # Of few pictures a small share would be fewer than the recipe allows as an upper bound.
        count = max(min(count, self.recipe.max_prototypes), self.recipe.num_neighbors + 1)
        chosen = select_coreset(rows, min(count, len(rows)), self.seed, self.on_coreset_progress)
        self.model.memory_bank = torch.from_numpy(rows[chosen]).to(patches.device)
        if self.keep_patches:
            self._learned = own.reshape(len(first), -1, rows.shape[1]), chosen, copies

    def left_out(self, pictures: Sequence[Path]) -> Scored:
        """After fit(): what each picture scores with a bank that is built without it.

        What a patch is, principal components included, comes from all pictures; which patches are
        prototypes comes from the others alone (``leave_one_out``).

        Args:
            pictures: those that were learned, at least two, in the order of the result.
        """
        if self._learned is None:
            raise ValueError("left_out: expected keep_patches before fit(), and one call")
        model, whole = self.model, self.model.memory_bank
        (patches, chosen, copies), self._learned = self._learned, None
        place_of = {path: place for place, path in enumerate(self._paths)}
        banks = LeaveOneOut(patches, chosen, self.recipe.num_neighbors + 1, copies)
        found: list[tuple[float, Float32Map]] = []
        made_up: list[list[float]] = []
        for index, picture in enumerate(track(pictures, "patchcore: leaving parts out")):
            place = place_of[str(picture)]
            model.memory_bank = torch.from_numpy(banks.bank(place)).to(whole.device)
            patches_of_one = torch.from_numpy(banks.patches[place]).to(whole.device)
            found.append(model.score(self._on_grid(patches_of_one)))
            # A picture may have gone since it was learned.
            for part in load_images([picture], self.recipe.size_hw):
                defects = share_of_part(index, len(pictures))
                made_up += score_made_up(self._score_picture, part, defects, self.seed, model.roi)
        model.memory_bank = whole
        scores, maps = zip(*found, strict=True)
        return Scored(np.array(scores), list(maps), as_scores(made_up))

    def _described(self, image_rgb: UInt8Image) -> Float32:
        """The patches of a picture as a map, float32 (D, h, w)."""
        batch = self.pre_processor(to_batch(image_rgb).to(self.device))
        found: Float32 = self.model.generate_embedding(self.model.pooled(batch))[0].cpu().numpy()
        return found

    def _counting(self, maps: torch.Tensor) -> torch.Tensor | None:
        """Which patches of maps (n, C, h, w) count, bool (h * w,); None for all."""
        model = self.model
        if model.roi is None:
            return None
        grid_hw = (maps.shape[-2], maps.shape[-1])
        model.inside = Inside(model.roi, grid_hw, model.smoothing, maps.device)
        return model.inside.chosen

    def _on_grid(self, patches: torch.Tensor) -> torch.Tensor:
        """All patches of a picture (P, D) from those that count; the others are at 0."""
        inside = self.model.inside
        if inside is None:
            return patches
        whole = patches.new_zeros(inside.cells.numel(), patches.shape[1])
        whole[inside.chosen.to(patches.device)] = patches
        return whole

    def _score_picture(self, image_rgb: UInt8Image) -> float:
        """Raw score of a picture with the bank as it is now."""
        pooled = self.model.pooled(self.pre_processor(to_batch(image_rgb)))
        return self.model.score(self._patches(pooled))[0]

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

    def _check_blur(self, grid_hw: torch.Size) -> None:
        """The border is mirrored, so the map must be larger than the Gaussian reaches."""
        reach = blur_reach(self.recipe.score_blur)
        if self.recipe.score_share and reach >= min(grid_hw):
            raise TrainingError(
                f"score_blur: expected a map of more than {reach} patches a side, found "
                f"{grid_hw[0]} x {grid_hw[1]}; "
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
    model = LinesidePatchcore(recipe, seed, photographs.roi)
    model.keep_patches = not photographs.held_out
    steps = len(data.train_dataloader())
    with task("patchcore: features", steps) as advance, task("patchcore: coreset") as coreset:
        model.on_coreset_progress = coreset
        fit_with_engine(model, data, folder, advance, max_epochs=1)
    model.on_coreset_progress = None
    return model, None if photographs.held_out else model.cpu().eval().left_out(photographs.train)
