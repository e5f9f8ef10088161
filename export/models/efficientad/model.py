"""anomalib's EfficientAD with a schedule for CPUs, and a teacher that needs no download."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from anomalib.data import Batch, InferenceBatch
from anomalib.models import EfficientAd
from anomalib.models.components import GaussianBlur2d, TimmFeatureExtractor
from anomalib.models.image.efficient_ad.torch_model import EfficientAdModel, EfficientAdModelSize
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader

from export.backbones.extractors import (
    Normalization,
    load_state_dict,
    make_extractor,
    normalization_of,
)
from export.models.efficientad.reading import STUDENT_SHARES, MapReading
from export.models.efficientad.recipe import EfficientAdRecipe
from runtime.errors import TrainingError

PDN_CHANNELS = 384
# The PDN sees windows of 33 pixels at stride 4 and has no padding: an input of side s gives s / 4 -
# 8 patches a side.
_STRIDE, _LOST = 4, 8
# Three thousand patches each: more parts change means, deviations and quantiles little.
STATISTICS_PARTS = 60
# Side in pixels of the crops for the losses that are means over patches.
SIDE_CROP = 64


class SmoothedEfficientAdModel(EfficientAdModel):  # type: ignore[misc]
    """anomalib's torch model with the smoothing that anomalib gives PatchCore's map alone.

    Args:
        teacher_out_channels: channels of the teacher.
        model_size: ``small`` or ``medium``.
    """

    def __init__(self, teacher_out_channels: int, model_size: str) -> None:
        super().__init__(
            teacher_out_channels=teacher_out_channels, model_size=EfficientAdModelSize(model_size)
        )
        self.smoothing: nn.Module = nn.Identity()
        # The paper's until training has chosen.
        self.reading = MapReading()

    def read_as(self, reading: MapReading) -> None:
        """Make anomalib's 0.5 * (map - qa) / (qb - qa) share * (map - qa) / range.

        Args:
            reading: share of the student and smoothing; to be set once, on a model read as in the
                paper.
        """
        share = reading.student_share
        # The smallest share keeps the range finite where the autoencoder is switched off.
        for branch, weight in (("st", share), ("ae", max(1.0 - share, 1e-6))):
            low, high = self.quantiles[f"qa_{branch}"], self.quantiles[f"qb_{branch}"]
            self.quantiles[f"qb_{branch}"] = low + (high - low) * (0.5 / weight)
        self.smooth_as(reading)

    def smooth_as(self, reading: MapReading) -> None:
        """Take over a reading whose share is in the quantiles already."""
        sigma = reading.blur_sigma
        self.smoothing = GaussianBlur2d(sigma=sigma, channels=1) if sigma > 0 else nn.Identity()
        self.reading = reading

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As anomalib's, smoothed."""
        result = super().forward(*args, **kwargs)
        if not isinstance(result, InferenceBatch):
            return result
        anomaly_map = self.smoothing(result.anomaly_map)
        return InferenceBatch(pred_score=anomaly_map.amax(dim=(-2, -1)), anomaly_map=anomaly_map)


class LinesideEfficientAd(EfficientAd):  # type: ignore[misc]
    """anomalib's EfficientAD with Lineside's teacher, schedule and training crops.

    The student has no padding, so its output on a crop that starts at a multiple of four equals
    that part of its output on the whole picture. Training it on crops costs a quarter of a step and
    changes nothing else; the autoencoder, which must see the whole part, is cheap.

    Args:
        recipe: settings.
        imagenet_dir: folder of folders of everyday pictures for the penalty term.

    Attributes:
        student_shares: of the student in the map, to choose from.
    """

    student_shares: tuple[float, ...] = STUDENT_SHARES

    def __init__(self, recipe: EfficientAdRecipe, imagenet_dir: Path | None) -> None:
        teacher = _backbone_teacher(recipe) if recipe.teacher == "backbone" else None
        channels = PDN_CHANNELS if teacher is None else teacher.out_channels
        super().__init__(
            **({} if imagenet_dir is None else {"imagenet_dir": imagenet_dir}),
            teacher_out_channels=channels,
            model_size=recipe.model_size,
            lr=recipe.learning_rate,
            pre_processor=False,
            post_processor=False,
            evaluator=False,
            visualizer=False,
        )
        self.model = SmoothedEfficientAdModel(channels, recipe.model_size)
        if teacher is not None:
            self.model.teacher = teacher
        self.model.teacher.requires_grad_(requires_grad=False)
        self.recipe = recipe
        self.imagenet_iterator: Iterator[Any]

    def teacher_channel_mean_std(self, dataloader: DataLoader[Any]) -> dict[str, torch.Tensor]:
        """As anomalib's, over as many parts as settle it."""
        statistics: dict[str, torch.Tensor] = super().teacher_channel_mean_std(
            islice(dataloader, STATISTICS_PARTS)
        )
        return statistics

    def map_norm_quantiles(self, dataloader: DataLoader[Any]) -> dict[str, torch.Tensor]:
        """As anomalib's, over as many parts as settle it."""
        quantiles: dict[str, torch.Tensor] = super().map_norm_quantiles(
            islice(dataloader, STATISTICS_PARTS)
        )
        return quantiles

    def prepare_pretrained_model(self) -> None:
        """Load the PDN's weights from a file or anomalib's download; a backbone has its own.

        Raises:
            TrainingError: weights of another architecture, or a download that fails.
        """
        if self.recipe.teacher == "backbone":
            return
        if self.recipe.teacher_weights is None:
            try:
                super().prepare_pretrained_model()
            except Exception as error:  # urllib, zip and hash errors share no base class
                raise TrainingError(
                    "teacher pdn: expected the official weights from anomalib's release page, "
                    "which cannot be reached "
                    f"({type(error).__name__}); give --teacher-weights FILE, or use --teacher "
                    "backbone"
                ) from error
            return
        state = load_state_dict(self.recipe.teacher_weights)
        try:
            self.model.teacher.load_state_dict(state)
        except RuntimeError as error:
            raise TrainingError(
                f"{self.recipe.teacher_weights}: expected weights of the {self.recipe.model_size} "
                "patch description network, "
                f"found another architecture; give pretrained_teacher_{self.recipe.model_size}.pth"
            ) from error

    def prepare_imagenette_data(self, image_size: tuple[int, int] | torch.Size) -> None:
        """Open the pictures of the penalty term.

        Raises:
            TrainingError: they cannot be downloaded or read.
        """
        try:
            super().prepare_imagenette_data(image_size)
        except Exception as error:
            raise TrainingError(
                f"{self.imagenet_dir}: expected a folder of folders of everyday pictures "
                f"({type(error).__name__}: {error}); "
                "give one with --imagenet-dir DIR, or leave it out with --teacher backbone"
            ) from error

    def configure_optimizers(self) -> dict[str, Any]:
        """Adam with one cycle: a short schedule needs a high rate and a quiet end."""
        parameters = [*self.model.student.parameters(), *self.model.ae.parameters()]
        optimizer = torch.optim.Adam(
            parameters, lr=self.recipe.learning_rate, weight_decay=self.weight_decay
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=self.recipe.learning_rate,
            total_steps=self.recipe.resolved_steps() + 1,
            pct_start=0.2,
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def training_step(self, batch: Batch, *_args: Any, **_kwargs: Any) -> dict[str, torch.Tensor]:
        """One step: the paper's three losses, the student's parts on crops."""
        image = batch.image
        model, channels = self.model, self.model.teacher_out_channels
        augmented = model.choose_random_aug_image(image)
        with torch.no_grad():
            teacher, teacher_augmented = self._teach(torch.cat([image, augmented])).chunk(2)
        rebuilt = model.ae(augmented, image.shape[-2:])
        loss_ae = (teacher_augmented - rebuilt).square().mean()

        window, patches = self._random_window(image.shape[-2:], self.recipe.crop)
        seen = model.student(image[(..., *window)])[:, :channels]
        distance = (teacher[(..., *patches)] - seen).square()
        # The mean of the hardest 0.1 %: anomalib sorts half a million values for their quantile,
        # top-k does not.
        hardest = distance.flatten().topk(max(1, distance.numel() // 1000)).values

        # The penalty and the imitation of the autoencoder are means, which a small crop estimates
        # as well.
        window, patches = self._random_window(image.shape[-2:], min(SIDE_CROP, self.recipe.crop))
        seen = model.student(
            torch.cat([self._next_scene()[(..., *window)], augmented[(..., *window)]])
        )
        loss_st = hardest.mean() + seen[0:1, :channels].square().mean()
        loss_stae = (rebuilt[(..., *patches)] - seen[1:2, channels:]).square().mean()
        return {"loss": loss_st + loss_ae + loss_stae}

    def on_validation_start(self) -> None:
        """The map quantiles are computed once, after training, by :func:`finish`."""

    def _teach(self, images: torch.Tensor) -> torch.Tensor:
        features = self.model.teacher(images)
        normalized: torch.Tensor = (features - self.model.mean_std["mean"]) / self.model.mean_std[
            "std"
        ]
        return normalized

    def _next_scene(self) -> torch.Tensor:
        try:
            scene = next(self.imagenet_iterator)[0]
        except StopIteration:
            self.imagenet_iterator = iter(self.imagenet_loader)
            scene = next(self.imagenet_iterator)[0]
        return torch.as_tensor(scene).to(self.device)

    def _random_window(
        self, size_hw: torch.Size, crop: int
    ) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """A random crop of the picture, and the patches that the student computes from it."""
        side = min(crop, *size_hw)
        window, patches = [], []
        for length in size_hw:
            start = int(torch.randint(0, (length - side) // _STRIDE + 1, ()).item())
            window.append(slice(start * _STRIDE, start * _STRIDE + side))
            patches.append(slice(start, start + side // _STRIDE - _LOST))
        return (window[0], window[1]), (patches[0], patches[1])


def _backbone_teacher(recipe: EfficientAdRecipe) -> BackboneTeacher:
    layers = recipe.resolved_layers()
    extractor = make_extractor(recipe.backbone, layers, recipe.backbone_weights, recipe.size_hw)
    return BackboneTeacher(extractor, layers, normalization_of(recipe.backbone)).eval()


class BackboneTeacher(nn.Module):
    """Backbone features on the grid of the PDN: (N, 3, H, W) in [0, 1] to (N, C, H/4 - 8, W/4 - 8).

    The official PDN teacher was distilled from a WideResNet-101 on ImageNet and has to be
    downloaded. The trunk of a small pretrained network gives features of the same kind, needs no
    download and costs a fraction at inference.

    The PDN has no padding and strides of 4, so a 256-pixel input gives 56 x 56 patches; here the
    features are brought to H/4 x W/4 and the four outermost patches on each side are cropped.

    Args:
        extractor: frozen feature extractor.
        layers: layers in the order of concatenation.
        normalization: of the backbone.
    """

    mean: torch.Tensor
    std: torch.Tensor
    margin = 4
    stride = 4

    def __init__(
        self, extractor: TimmFeatureExtractor, layers: Sequence[str], normalization: Normalization
    ) -> None:
        super().__init__()
        self.extractor = extractor
        self.layers = list(layers)
        self.register_buffer("mean", torch.tensor(normalization.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(normalization.std).view(1, 3, 1, 1))

    @property
    def out_channels(self) -> int:
        """Number of feature channels C."""
        return int(sum(self.extractor.out_dims))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Features of a batch."""
        height, width = image.shape[-2] // self.stride, image.shape[-1] // self.stride
        maps = self.extractor((image - self.mean) / self.std)
        grown = [
            F.interpolate(maps[layer], size=(height, width), mode="bilinear")
            for layer in self.layers
        ]
        margin = self.margin
        return torch.cat(grown, dim=1)[:, :, margin : height - margin, margin : width - margin]
