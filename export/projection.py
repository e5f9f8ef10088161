"""The principal components of good parts (:mod:`calibration.learning.components`) in torch.

Pooling, up-sampling and projection are all linear: each layer is projected at
its own resolution, where that is cheap, and only the few projected channels are up-sampled and
added. So each is one 1x1 convolution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from calibration.learning.components import find_components, spread

Features = Mapping[str, torch.Tensor]


class Projection(nn.Module):
    """Pooled feature maps to patches of D dimensions.

    Args:
        weights: of each layer, float32 (D, C); their order is that of the layers, the first sets
            the resolution.
        bias: float32 (D,), which moves the mean of good parts to the origin, where float32 is
            finest.
    """

    def __init__(self, weights: Mapping[str, torch.Tensor], bias: torch.Tensor) -> None:
        super().__init__()
        self.layers = tuple(weights)
        for index, weight in enumerate(weights.values()):
            self.register_buffer(f"weight_{index}", weight.float()[:, :, None, None].contiguous())
        self.register_buffer("bias", bias.float().view(1, -1, 1, 1))
        self.bias: torch.Tensor

    def weights(self) -> dict[str, torch.Tensor]:
        """Of each layer, float32 (D, C): what the projection is made of, with its bias."""
        return {
            layer: getattr(self, f"weight_{index}").flatten(1)
            for index, layer in enumerate(self.layers)
        }

    @property
    def dimensions(self) -> int:
        """Length D of a patch."""
        return int(self.bias.shape[1])

    def forward(self, features: Features) -> torch.Tensor:
        """Project.

        Args:
            features: pooled maps, ``{layer: float32 (n, C, h, w)}``.

        Returns:
            float32 (n, D, h, w) at the first layer's resolution.
        """
        total = self.bias
        size_hw = features[self.layers[0]].shape[-2:]
        for index, layer in enumerate(self.layers):
            part = F.conv2d(features[layer], getattr(self, f"weight_{index}"))
            if index:
                part = F.interpolate(part, size=size_hw, mode="bilinear")
            total = total + part
        return total


def stack(features: Features, layers: Sequence[str]) -> torch.Tensor:
    """All layers at the first one's resolution, as anomalib stacks them: (n, sum of C, h, w)."""
    size_hw = features[layers[0]].shape[-2:]
    grown = [F.interpolate(features[layer], size=size_hw, mode="bilinear") for layer in layers[1:]]
    return torch.cat([features[layers[0]], *grown], dim=1)


def fit_projection(
    pooled: Features,
    layers: Sequence[str],
    dimensions: int,
    whitening: float,
    inside: torch.Tensor | None = None,
) -> Projection:
    """Principal components of good parts.

    Args:
        pooled: pooled maps of good parts, ``{layer: float32 (n, C, h, w)}``.
        layers: in the order of stacking.
        dimensions: components to keep; at most as many as there are channels.
        whitening: 0 leaves every component its standard deviation s, 1 gives all the same; between,
            s ** (1 - whitening).
        inside: which patches of a picture count, bool (h * w,); None for all.
    """
    pictures = (
        [pooled[layer][place].float().cpu().numpy() for layer in layers]
        for place in spread(len(pooled[layers[0]]))
    )
    counting = None if inside is None else inside.cpu().numpy()
    found = find_components(pictures, dimensions, whitening, counting)
    device = pooled[layers[0]].device
    weights = map(torch.from_numpy, found.weights)
    return Projection(dict(zip(layers, weights, strict=True)), torch.from_numpy(found.bias)).to(
        device
    )
