"""Patches in fewer dimensions: the principal components of good parts, one 1x1 convolution a layer.

Stacking more layers tells more defects apart but makes every distance dearer, and a deep layer's
many channels outweigh the fine ones. So every layer is first scaled to the same total variance,
then the stack is turned onto its principal components, and the leading ones are kept, the strong
ones damped: what varies much among good parts says little about a defect. Damping all to one
variance is the Mahalanobis distance of PaDiM (Defard et al. 2021); half-way amplifies less noise.

Pooling, up-sampling and projection are all linear: each layer is projected at
its own resolution, where that is cheap, and only the few projected channels are up-sampled and
added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

# Pictures that the components are computed from, spread evenly over the training set.
MAX_FIT_IMAGES = 256
# Components weaker than this share of the strongest are rounding, and are not amplified.
_WEAKEST = 1e-6
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
    channels = [int(pooled[layer].shape[1]) for layer in layers]
    mean, covariance = _moments(pooled, layers, inside)
    scale = _layer_scales(covariance, channels)
    values, vectors = torch.linalg.eigh(scale[:, None] * covariance * scale)
    # eigh sorts upwards.
    variances = values.flip(0)[:dimensions].clamp_min(max(float(values[-1]) * _WEAKEST, 1e-12))
    components = vectors.flip(1)[:, :dimensions].T * scale * variances[:, None] ** (-whitening / 2)
    weights = dict(zip(layers, torch.split(components, channels, dim=1), strict=True))
    return Projection(weights, -(components @ mean))


def _moments(
    pooled: Features, layers: Sequence[str], inside: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean (C,) and covariance (C, C) of the stacked patches, float64."""
    count = len(pooled[layers[0]])
    shift, rows = None, 0
    for index in range(0, count, -(-count // MAX_FIT_IMAGES)):
        image = {layer: maps[index : index + 1] for layer, maps in pooled.items()}
        patches = stack(image, layers)[0].flatten(1).T.double()
        if inside is not None:
            patches = patches[inside.to(patches.device)]
        if shift is None:
            # Sums around a rough mean do not cancel.
            shift = patches.mean(dim=0)
            total, products = torch.zeros_like(shift), torch.zeros_like(patches.T @ patches)
        patches -= shift
        rows += len(patches)
        total += patches.sum(dim=0)
        products += patches.T @ patches
    if shift is None:
        raise ValueError("pooled: expected at least one picture's features, found none")
    mean = total / rows
    return mean + shift, products / rows - torch.outer(mean, mean)


def _layer_scales(covariance: torch.Tensor, channels: Sequence[int]) -> torch.Tensor:
    """One factor a channel that gives every layer a total variance of one."""
    variances = torch.split(covariance.diagonal(), list(channels))
    return torch.cat(
        [layer.sum().clamp_min(1e-12).rsqrt().expand(len(layer)) for layer in variances]
    )
