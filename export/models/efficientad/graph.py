"""EfficientAD as one static graph: anomalib's score with one up-sampling instead of two.

Both maps are linear in what is up-sampled, so they are weighted and added at feature resolution;
only the sum is up-sampled and smoothed, and only to take its maximum. The offset is added last,
because anomalib pads with zeros before it normalises. Where the autoencoder counts for nothing,
neither it nor the half of the student that imitates it is there.

Batzner et al., "EfficientAD: Accurate Visual Anomaly Detection at Millisecond-Level Latencies",
WACV 2024.
"""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from export.inference_graph import (
    InferenceGraph,
    SeparableGaussian,
    Uint8Input,
    defect_descriptor,
    good_scores_buffer,
)
from export.models.efficientad.model import SmoothedEfficientAdModel
from runtime.engines.base import ANOMALY_MAP, EMBEDDING, PRED_SCORE

_PAD = 4
# Patches that speak for the part: fewer are noisy, more dilute small defects.
_DESCRIPTOR_PATCHES = 10


class EfficientAdGraph(InferenceGraph):
    """uint8 image to (pred_score, anomaly_map, embedding).

    Args:
        model: anomalib's trained model with its channel statistics and map quantiles set.
        size_hw: input height and width.
        good_scores: raw score of a typical good part and the bound that few exceed, for the
            descriptor.
    """

    weight_st: torch.Tensor
    weight_ae: torch.Tensor
    offset: torch.Tensor
    teacher_mean: torch.Tensor
    teacher_scale: torch.Tensor
    good_scores: torch.Tensor

    def __init__(
        self,
        model: SmoothedEfficientAdModel,
        size_hw: tuple[int, int],
        good_scores: tuple[float, float],
    ) -> None:
        super().__init__()
        self.input = Uint8Input(None)
        self.channels = model.teacher_out_channels
        self.teacher = model.teacher
        self.ae = model.ae if model.reading.student_share < 1.0 else None
        self.student = self._student(model)
        self.pad = _PAD if model.pad_maps else 0
        self.smoothing = SeparableGaussian(model.reading.blur_sigma)
        self.size_hw = size_hw
        quantiles = {name: value.detach().double() for name, value in model.quantiles.items()}
        # anomalib: 0.5 * 0.1 * (map - qa) / (qb - qa) for each branch.
        weight_st = 0.05 / (quantiles["qb_st"] - quantiles["qa_st"])
        offset = -weight_st * quantiles["qa_st"]
        weight_ae = torch.zeros_like(weight_st)
        if self.ae is not None:
            weight_ae = 0.05 / (quantiles["qb_ae"] - quantiles["qa_ae"])
            offset = offset - weight_ae * quantiles["qa_ae"]
        self.register_buffer("weight_st", weight_st.float().reshape(1))
        self.register_buffer("weight_ae", weight_ae.float().reshape(1))
        self.register_buffer("offset", offset.float().reshape(1))
        self.register_buffer("teacher_mean", model.mean_std["mean"].detach().float())
        self.register_buffer("teacher_scale", 1.0 / model.mean_std["std"].detach().float())
        self.register_buffer("good_scores", good_scores_buffer(good_scores))

    def features(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """What teacher, student and maybe autoencoder say, float32 (1, C, h, w) each."""
        scaled = self.input(image)
        said = (self.teacher(scaled), self.student(scaled))
        return said if self.ae is None else (*said, self.ae(scaled, self.size_hw))

    def read(self, *features: torch.Tensor) -> dict[str, torch.Tensor]:
        """The three outputs from what the networks say."""
        teacher, student, *autoencoder = features
        teacher = (teacher - self.teacher_mean) * self.teacher_scale
        against_ae = autoencoder[0] - student[:, self.channels :] if autoencoder else None
        return self._outputs(teacher - student[:, : self.channels], against_ae)

    def _student(self, model: SmoothedEfficientAdModel) -> nn.Module:
        student: nn.Module = model.student
        return student if self.ae is not None else _first_outputs(student, self.channels)

    def _outputs(
        self, difference: torch.Tensor, against_ae: torch.Tensor | None
    ) -> dict[str, torch.Tensor]:
        """The outputs from teacher and autoencoder minus student, float32 (1, C, h, w) each."""
        combined = self.weight_st * difference.square().mean(dim=1, keepdim=True)
        if against_ae is not None:
            combined = combined + self.weight_ae * against_ae.square().mean(dim=1, keepdim=True)
        padded = F.pad(combined, (self.pad,) * 4) if self.pad else combined
        grown = self.smoothing(F.interpolate(padded, size=self.size_hw, mode="bilinear"))
        score = grown.amax(dim=(1, 2, 3)) + self.offset
        embedding = defect_descriptor(
            self._direction(combined, difference), score, self.good_scores
        )
        return {PRED_SCORE: score, ANOMALY_MAP: padded + self.offset, EMBEDDING: embedding}

    def _direction(self, combined: torch.Tensor, difference: torch.Tensor) -> torch.Tensor:
        """Mean of what the student did not expect, over the most anomalous patches, (1, C)."""
        flat = difference.flatten(2)[0]
        top = torch.topk(combined.flatten(), min(_DESCRIPTOR_PATCHES, flat.shape[1])).indices
        # Indexing would transpose the whole tensor first.
        return flat.index_select(1, top).mean(dim=1).unsqueeze(0)


class FeatureEfficientAdGraph(EfficientAdGraph):
    """The same with a student that reads the teacher's features.

    What it says differs little from what it reads, so it belongs to what quantisation leaves alone.
    """

    def features(self, image: torch.Tensor) -> tuple[torch.Tensor]:
        """What the teacher says, float32 (1, C, h, w)."""
        return (self.teacher(self.input(image)),)

    def read(self, *features: torch.Tensor) -> dict[str, torch.Tensor]:
        """The three outputs from what the teacher says."""
        (teacher,) = features
        patches = (teacher - self.teacher_mean) * self.teacher_scale
        return self._outputs(patches - self.student(patches), None)

    def _student(self, model: SmoothedEfficientAdModel) -> nn.Module:
        student: nn.Module = model.student
        return student


def _first_outputs(network: nn.Module, channels: int) -> nn.Module:
    """A copy of a network whose last convolution computes only its first outputs."""
    shorter = copy.deepcopy(network)
    # anomalib names them conv1, conv2, ... in the order they run.
    name, last = [(n, m) for n, m in shorter.named_children() if isinstance(m, nn.Conv2d)][-1]
    reduced = nn.Conv2d(last.in_channels, channels, last.kernel_size, last.stride, last.padding)  # type: ignore[arg-type]
    reduced.load_state_dict({key: value[:channels] for key, value in last.state_dict().items()})
    setattr(shorter, name, reduced)
    return shorter
