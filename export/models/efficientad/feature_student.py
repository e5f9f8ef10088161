"""EfficientAD with a student that reads the teacher's features instead of the picture's pixels.

The paper's student sees 33 pixels and has to guess what the teacher says. Where good parts have
many textures it guesses badly, on good parts too. This one is shown the teacher's own description
of a patch with noise added, and has to take the noise off: a denoising autoencoder. Of all
functions the mean of what good parts have near there does that best (Vincent et al., JMLR 2010;
Alain and Bengio, JMLR 2014), so the difference of student and teacher grows with the distance from
good patches, as PatchCore's does, but without a memory bank to search. On something that no good
part has, the student still answers with something that good parts have.

Patches are described as PatchCore describes them (:mod:`export.projection`). The student's
convolutions are 1 x 1: a few million products where the paper's takes twenty thousand million.
There is no autoencoder beside it, nothing is cropped, and the map reaches to the picture's edge.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

import torch
from anomalib.data import Batch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader

from export.backbones.extractors import Normalization, make_extractor, normalization_of
from export.models.efficientad.model import LinesideEfficientAd, SmoothedEfficientAdModel
from export.models.efficientad.reading import MapReading
from export.models.efficientad.recipe import EfficientAdRecipe
from export.projection import Features, Projection, fit_projection
from runtime.errors import TrainingError
from runtime.progress import track

# Numbers a patch, as PatchCore's default.
DIMENSIONS = 64
PROJECTION_WHITENING = 0.5
WIDTH = 512
# Patches a step.
BATCH = 4096
# Parts whose patches are held in memory, at 256 pixels 270 MB of them and as much again while they
# are described.
MAX_PARTS = 1024
# Deviation of the noise, in standard deviations of the patches.
NOISE = 0.5


class PatchTeacher(nn.Module):
    """Patches as PatchCore describes them: (N, 3, H, W) in [0, 1] to (N, D, h, w).

    Args:
        recipe: trunk and layers.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, recipe: EfficientAdRecipe) -> None:
        super().__init__()
        self.layers = recipe.resolved_layers()
        self.extractor = make_extractor(
            recipe.backbone, self.layers, recipe.backbone_weights, recipe.size_hw
        )
        normalization: Normalization = normalization_of(recipe.backbone)
        self.register_buffer("mean", torch.tensor(normalization.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(normalization.std).view(1, 3, 1, 1))
        self.pool = nn.AvgPool2d(3, 1, 1)
        self.dimensions = min(DIMENSIONS, int(sum(self.extractor.out_dims)))
        # Of the right shapes until training has fitted it.
        empty = {
            layer: torch.zeros(self.dimensions, channels)
            for layer, channels in zip(self.layers, self.extractor.out_dims, strict=True)
        }
        self.projection = Projection(empty, torch.zeros(self.dimensions))

    def pooled(self, image: torch.Tensor) -> Features:
        """Locally averaged maps of every layer, ``{layer: float32 (n, C, h, w)}``."""
        maps = self.extractor((image - self.mean) / self.std)
        return {layer: self.pool(maps[layer]) for layer in self.layers}

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Patches of a batch."""
        patches: torch.Tensor = self.projection(self.pooled(image))
        return patches


def denoiser(channels: int) -> nn.Sequential:
    """The student: (N, C, h, w) to the same, patch by patch."""
    return nn.Sequential(
        nn.Conv2d(channels, WIDTH, 1),
        nn.GELU(),
        nn.Conv2d(WIDTH, WIDTH, 1),
        nn.GELU(),
        nn.Conv2d(WIDTH, channels, 1),
    )


class FeatureEfficientAdModel(SmoothedEfficientAdModel):
    """anomalib's model with a :class:`PatchTeacher`, a denoising student and no autoencoder."""

    def __init__(self, recipe: EfficientAdRecipe) -> None:
        teacher = PatchTeacher(recipe).eval()
        super().__init__(teacher.dimensions, recipe.model_size)
        self.teacher = teacher
        self.student = denoiser(teacher.dimensions)
        self.ae = nn.Identity()
        self.reading = MapReading(student_share=1.0)
        self.pad_maps = False

    def compute_student_teacher_distance(
        self, batch: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As anomalib's; the student reads what the teacher says."""
        with torch.no_grad():
            teacher = self._normalize_teacher(self.teacher(batch))
        student = self.student(teacher)
        return student, (teacher - student).square()

    def compute_maps(
        self,
        batch: torch.Tensor,
        student_output: torch.Tensor,
        distance_st: torch.Tensor,
        normalize: bool = True,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As anomalib's; the autoencoder's map is 0 everywhere."""
        del student_output
        found = F.interpolate(
            distance_st.mean(dim=1, keepdim=True), size=batch.shape[-2:], mode="bilinear"
        )
        if normalize and self.is_set(self.quantiles):
            low, high = self.quantiles["qa_st"], self.quantiles["qb_st"]
            found = 0.1 * (found - low) / (high - low)
        return found, torch.zeros_like(found)


class FeatureEfficientAd(LinesideEfficientAd):
    """anomalib's EfficientAD with that model.

    Args:
        recipe: settings.
    """

    student_shares = (1.0,)

    def __init__(self, recipe: EfficientAdRecipe) -> None:
        super().__init__(recipe, None)
        self.model = FeatureEfficientAdModel(recipe)
        self.model.teacher.requires_grad_(requires_grad=False)
        self._patches = torch.empty(0)

    def prepare_imagenette_data(self, image_size: tuple[int, int] | torch.Size) -> None:
        """No penalty: away from good patches the student answers with good ones by itself."""

    @torch.no_grad()
    def teacher_channel_mean_std(self, dataloader: DataLoader[Any]) -> dict[str, torch.Tensor]:
        """Fit the description of patches, keep good ones, and return their mean and deviation.

        The deviation is one for all numbers, since the description has evened them out as far as it
        should.

        Raises:
            TrainingError: features that are not finite.
        """
        teacher = self.model.teacher
        parts = min(len(dataloader), MAX_PARTS)
        shown = track(islice(dataloader, parts), "efficientad: features", parts)
        seen = [teacher.pooled(batch.image.to(self.device)) for batch in shown]
        pooled = {
            layer: torch.cat([maps[layer] for maps in seen]).float() for layer in teacher.layers
        }
        if not all(bool(torch.isfinite(maps).all()) for maps in pooled.values()):
            raise TrainingError(
                "features: expected finite numbers, found NaN or infinity; check the backbone's "
                "weights"
            )
        fitted = fit_projection(pooled, teacher.layers, teacher.dimensions, PROJECTION_WHITENING)
        teacher.projection.load_state_dict(fitted.state_dict())
        patches = teacher.projection(pooled).permute(0, 2, 3, 1).reshape(-1, teacher.dimensions)
        mean, deviation = (
            patches.mean(dim=0),
            patches.std(dim=0).square().mean().sqrt().clamp_min(1e-12),
        )
        self._patches = (patches - mean) / deviation
        return {
            "mean": mean.view(1, -1, 1, 1),
            "std": deviation.expand(len(mean)).reshape(1, -1, 1, 1).clone(),
        }

    def training_step(self, batch: Batch, *_args: Any, **_kwargs: Any) -> dict[str, torch.Tensor]:
        """One step on patches of many parts; which part the loader brings does not matter."""
        del batch
        chosen = torch.randint(0, len(self._patches), (BATCH,), device=self._patches.device)
        clean = self._patches[chosen].T[None, :, :, None]
        said = self.model.student(clean + NOISE * torch.randn_like(clean))
        return {"loss": (said - clean).square().mean()}

    def on_train_end(self) -> None:
        """Let go of the patches."""
        self._patches = torch.empty(0)
