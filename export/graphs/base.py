"""What the inference graphs share: networks first, then the distances computed from what they say."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import nn

from runtime.engines.base import FEATURES_PREFIX, OUTPUTS


class InferenceGraph(nn.Module):
    """uint8 image to (pred_score, anomaly_map, embedding), in parts that a converter can tell apart.

    Quantisation may touch what comes before the features; distances between them stay in fp32,
    unless another search for the nearest prototype takes the place of the tensors that :meth:`read`
    names.

    Attributes:
        marks_seams: whether :meth:`forward` returns the seams after the three outputs, so that an
            exporter names them.
    """

    marks_seams = False

    @abstractmethod
    def features(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """What the networks say, float32 (1, C, h, w) each."""

    @abstractmethod
    def read(self, *features: torch.Tensor) -> dict[str, torch.Tensor]:
        """The three outputs from what the networks say, and tensors on the way to them, by their names."""

    def seams(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """Tensors inside the graph where one part ends and another begins, by their names (``runtime.engines.base``)."""
        return self._run(image)[1]

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Run.

        Args:
            image: uint8 (1, H, W, 3), RGB.

        Returns:
            pred_score float32 (1,), anomaly_map float32 (1, 1, h, w), embedding float32 (1, D).
        """
        outputs, seams = self._run(image)
        return (*outputs, *seams.values()) if self.marks_seams else outputs

    def _run(self, image: torch.Tensor) -> tuple[tuple[torch.Tensor, ...], dict[str, torch.Tensor]]:
        features = self.features(image)
        named = self.read(*features)
        outputs = tuple(named.pop(name) for name in OUTPUTS)
        return outputs, {
            **{f"{FEATURES_PREFIX}{index}": one for index, one in enumerate(features)},
            **named,
        }
