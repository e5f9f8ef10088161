"""What the inference graphs share: networks first, then the distances computed from what they say."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import nn


class InferenceGraph(nn.Module):
    """uint8 image to (pred_score, anomaly_map, embedding), in two parts that a converter can tell apart.

    Quantisation may touch what comes before the features; distances between them stay in fp32.

    Attributes:
        marks_features: whether :meth:`forward` returns the features after the three outputs, so that an exporter names them.
    """

    marks_features = False

    @abstractmethod
    def features(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """What the networks say, float32 (1, C, h, w) each."""

    @abstractmethod
    def read(self, *features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The three outputs from what the networks say."""

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Run.

        Args:
            image: uint8 (1, H, W, 3), RGB.

        Returns:
            pred_score float32 (1,), anomaly_map float32 (1, 1, h, w), embedding float32 (1, D).
        """
        features = self.features(image)
        outputs = self.read(*features)
        return (*outputs, *features) if self.marks_features else outputs
