"""Greedy k-center on real patch features: the patches picked, and the covering radius."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from torch.nn import functional as F  # noqa: N812

from calibration.learning.coreset import covering_radius, select_coreset
from calibration.learning.distances import Places
from export.backbones.extractors import make_extractor, normalization_of
from export.backbones.layers import DEFAULT_BACKBONE, DEFAULT_LAYERS
from runtime.images.preprocess import load_image
from runtime.types import Float32
from scripts.figures import style
from scripts.figures.world import World

PICTURES = 8
STEPS = (1, 4, 16, 64)


def draw(world: World) -> Figure:
    """Four states above, the curve below, both of the two dimensions that one can see."""
    features = patch_features(world)
    plane = _principal_plane(features)
    chosen = select_coreset(plane, max(STEPS), seed=0)
    drawn = style.figure(5.6)
    grid = drawn.add_gridspec(2, 4, height_ratios=(1.0, 1.1))
    for column, k in enumerate(STEPS):
        _state(drawn.add_subplot(grid[0, column]), plane, chosen[:k])
    axes = drawn.add_subplot(grid[1, :])
    in_full = select_coreset(features, 512, seed=0)
    _curve(axes, plane, chosen, style.ACCENT, "in the plane above")
    _curve(
        axes,
        features,
        in_full,
        style.BAD,
        f"in all {features.shape[1]} dimensions, as PatchCore selects",
    )
    axes.set(
        xlabel="patches picked, k",
        ylabel="covering radius, share of k = 1",
        xscale="log",
        ylim=(0, 1.05),
    )
    axes.set_xticks([1, 4, 16, 64, 256, 512], ["1", "4", "16", "64", "256", "512"])
    axes.minorticks_off()
    axes.legend(loc="lower left")
    return drawn


def patch_features(world: World) -> Float32:
    """Locally aware patch features of some good parts, float32 (n, D)."""
    layers = DEFAULT_LAYERS[DEFAULT_BACKBONE]
    extractor = make_extractor(DEFAULT_BACKBONE, layers, None)
    normalization = normalization_of(DEFAULT_BACKBONE)
    pictures = np.stack(
        [load_image(path, (256, 256)) for path in world.category.train_good[:PICTURES]]
    )
    batch = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255.0
    mean, std = (
        torch.tensor(value).view(1, 3, 1, 1) for value in (normalization.mean, normalization.std)
    )
    with torch.no_grad():
        found = extractor((batch - mean) / std)
        pooled = [F.avg_pool2d(found[layer], 3, 1, 1) for layer in layers]
        size = pooled[0].shape[-2:]
        together = torch.cat(
            [F.interpolate(one, size=size, mode="bilinear") for one in pooled], dim=1
        )
    return together.permute(0, 2, 3, 1).reshape(-1, together.shape[1]).numpy()


def _principal_plane(features: Float32) -> Float32:
    centered = features - features.mean(axis=0)
    axes = np.linalg.svd(centered, full_matrices=False).Vh[:2]
    return np.ascontiguousarray(centered @ axes.T)


def _state(axes: Axes, points: Float32, chosen: Places) -> None:
    centers = points[chosen]
    radius = covering_radius(points, chosen)
    for center in centers:
        axes.add_patch(Circle((center[0], center[1]), radius, color=style.ACCENT, alpha=0.10, lw=0))
        axes.add_patch(
            Circle(
                (center[0], center[1]), radius, fill=False, color=style.ACCENT, alpha=0.5, lw=0.6
            )
        )
    axes.scatter(*_thinned(points).T, s=1.5, color=style.NEUTRAL, lw=0)
    axes.scatter(*centers.T, s=26 if len(centers) < 20 else 9, color=style.BAD, zorder=3, lw=0)
    low, high = points.min(axis=0), points.max(axis=0)
    middle, half = (low + high) / 2, float((high - low).max()) * 0.56
    axes.set(
        xlim=(middle[0] - half, middle[0] + half),
        ylim=(middle[1] - half, middle[1] + half),
        aspect="equal",
    )
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_title(f"k = {len(centers)}, radius {radius:.2g}", loc="center", fontsize=10)


def _thinned(points: Float32) -> Float32:
    return points[np.random.default_rng(0).permutation(len(points))[:3000]]


def _curve(axes: Axes, features: Float32, chosen: Places, color: str, label: str) -> None:
    steps = sorted({int(k) for k in np.geomspace(1, len(chosen), 28)})
    radii = np.array([covering_radius(features, chosen[:k]) for k in steps])
    axes.plot(steps, radii / radii[0], color=color, lw=2, marker="o", ms=3.5, label=label)
