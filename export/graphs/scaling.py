"""uint8 in: scaling and normalisation live inside the graph."""

from __future__ import annotations

import torch
from torch import nn

from export.backbone import Normalization


class Uint8Input(nn.Module):
    """uint8 (1, H, W, 3) RGB to float32 (1, 3, H, W), normalised.

    Args:
        normalization: of the backbone, or None to stop at [0, 1].
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, normalization: Normalization | None) -> None:
        super().__init__()
        chosen = normalization or Normalization((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        # 255 folded into the constants: one subtraction and one multiplication per value.
        self.register_buffer("mean", torch.tensor(chosen.mean) * 255.0)
        self.register_buffer("scale", 1.0 / (torch.tensor(chosen.std).view(1, 3, 1, 1) * 255.0))
        self.scale: torch.Tensor

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Scale and normalise."""
        return (image.float() - self.mean).permute(0, 3, 1, 2) * self.scale
