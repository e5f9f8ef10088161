"""PatchCore trained by anomalib's Engine, with the backbone's own normalisation and a fast coreset."""

from __future__ import annotations

import math
from typing import Any

import torch
from anomalib.models import Patchcore
from anomalib.pre_processing import PreProcessor
from torchvision.transforms.v2 import Compose, Normalize

from export.backbone import make_extractor, normalization_of
from export.coreset import select_coreset
from export.recipe import PatchCoreRecipe
from runtime.errors import TrainingError


class LinesidePatchcore(Patchcore):  # type: ignore[misc]
    """anomalib's PatchCore; only how the coreset is chosen and where weights come from differ.

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
        self.model.feature_extractor = extractor
        self.recipe = recipe
        self.seed = seed
        self.on_coreset_progress: Any = None

    def fit(self) -> None:
        """Reduce the collected patches to the memory bank.

        Raises:
            TrainingError: no patches, or patches that are not finite.
        """
        patches = torch.vstack(self.model.embedding_store).float()
        self.model.embedding_store.clear()
        if not bool(torch.isfinite(patches).all()):
            raise TrainingError(
                "features: expected finite numbers, found NaN or infinity; check the backbone's weights"
            )
        count = min(math.ceil(len(patches) * self.recipe.coreset_ratio), self.recipe.max_prototypes)
        # With fewer prototypes than neighbours the re-weighting would have nothing to compare; with one, every score is 0.
        count = min(max(count, self.recipe.num_neighbors + 1), len(patches))
        chosen = select_coreset(patches, count, self.seed, self.on_coreset_progress)
        self.model.memory_bank = patches[chosen].contiguous()
