"""A frozen backbone in the place of EfficientAD's patch description network.

The official PDN teacher was distilled from a WideResNet-101 on ImageNet and has to be downloaded.
The trunk of a small pretrained network gives features of the same kind, needs no download and costs
a fraction at inference.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from anomalib.models.components import TimmFeatureExtractor
from torch import nn
from torch.nn import functional as F  # noqa: N812

from export.backbone import Normalization


class BackboneTeacher(nn.Module):
    """Backbone features on the grid of the PDN: (N, 3, H, W) in [0, 1] to (N, C, H/4 - 8, W/4 - 8).

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
