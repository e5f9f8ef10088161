"""Patches in fewer dimensions: the principal components of good parts, one matrix a layer.

Stacking more layers tells more defects apart but makes every distance dearer, and a deep layer's
many channels outweigh the fine ones. So every layer is first scaled to the same total variance,
then the stack is turned onto its principal components, and the leading ones are kept, the strong
ones damped: what varies much among good parts says little about a defect. Damping all to one
variance is the Mahalanobis distance of PaDiM (Defard et al. 2021); half-way amplifies less noise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from runtime.types import Float32, Float64, Mask

# Pictures that the components are computed from, spread evenly over the training set.
MAX_FIT_IMAGES = 256
# Components weaker than this share of the strongest are rounding, and are not amplified.
_WEAKEST = 1e-6


@dataclass(frozen=True)
class Components:
    """From pooled feature maps to patches of D dimensions.

    Attributes:
        weights: of each layer, float32 (D, C), in the order of stacking.
        bias: float32 (D,), which moves the mean of good parts to the origin, where float32 is
            finest.
    """

    weights: tuple[Float32, ...]
    bias: Float32


def spread(count: int) -> range:
    """Places of the pictures that the components are computed from."""
    return range(0, count, -(-count // MAX_FIT_IMAGES))


def find_components(
    pictures: Iterable[Sequence[Float32]],
    dimensions: int,
    whitening: float,
    inside: Mask | None = None,
) -> Components:
    """Principal components of good parts.

    Args:
        pictures: pooled maps of one good part each, a float32 (C, h, w) for every layer; the first
            one sets the resolution.
        dimensions: components to keep; at most as many as there are channels.
        whitening: 0 leaves every component its standard deviation s, 1 gives all the same; between,
            s ** (1 - whitening).
        inside: which patches of a picture count, bool (h * w,); None for all.
    """
    mean, covariance, channels = _moments(pictures, inside)
    scale = _layer_scales(covariance, channels)
    values, vectors = np.linalg.eigh(scale[:, None] * covariance * scale)
    # eigh sorts upwards.
    least = max(float(values[-1]) * _WEAKEST, 1e-12)
    variances = np.maximum(values[::-1][:dimensions], least)
    components = vectors[:, ::-1][:, :dimensions].T * scale
    components *= variances[:, None] ** (-whitening / 2)
    weights = np.split(components, np.cumsum(channels)[:-1], axis=1)
    return Components(
        tuple(one.astype(np.float32) for one in weights),
        (-(components @ mean)).astype(np.float32),
    )


def _moments(
    pictures: Iterable[Sequence[Float32]], inside: Mask | None
) -> tuple[Float64, Float64, list[int]]:
    """Mean (C,) and covariance (C, C) of the stacked patches, and the channels of each layer."""
    shift: Float64 | None = None
    channels: list[int] = []
    rows = 0
    for layers in pictures:
        patches = stacked(layers).astype(np.float64)
        if inside is not None:
            patches = patches[inside]
        if shift is None:
            channels = [len(one) for one in layers]
            # Sums around a rough mean do not cancel.
            shift = patches.mean(axis=0)
            total, products = np.zeros_like(shift), np.zeros((len(shift), len(shift)))
        patches -= shift
        rows += len(patches)
        total += patches.sum(axis=0)
        products += patches.T @ patches
    if shift is None:
        raise ValueError("pictures: expected at least one picture's features, found none")
    mean = total / rows
    return mean + shift, products / rows - np.outer(mean, mean), channels


def stacked(layers: Sequence[Float32]) -> Float32:
    """The patches of one picture, all layers at the first one's resolution, (h * w, sum of C)."""
    height, width = layers[0].shape[-2:]
    grown = [
        _positions(one.shape[1], height) @ one @ _positions(one.shape[2], width).T for one in layers
    ]
    return np.concatenate([one.reshape(len(one), -1) for one in grown]).T


def _positions(size: int, wanted: int) -> Float32:
    """Bilinear resizing along one axis as a matrix (wanted, size), as torch does without corners.

    Half a pixel is the center of the first one, and beyond the last center its value goes on.
    """
    if size == wanted:
        return np.eye(size, dtype=np.float32)
    centers = np.clip((np.arange(wanted) + 0.5) * size / wanted - 0.5, 0, size - 1)
    away = np.abs(centers[:, None] - np.arange(size))
    return np.maximum(1.0 - away, 0.0).astype(np.float32)


def _layer_scales(covariance: Float64, channels: Sequence[int]) -> Float64:
    """One factor a channel that gives every layer a total variance of one."""
    variances = np.split(np.diagonal(covariance), np.cumsum(channels)[:-1])
    return np.concatenate(
        [np.full(len(layer), max(float(layer.sum()), 1e-12) ** -0.5) for layer in variances]
    )
