"""PatchCore as one static graph: the same numbers as anomalib's model, a fraction of its work.

anomalib finds, for every patch, the distance to and the index of the nearest prototype, then
searches the whole bank again for the re-weighting. The score needs the index of one patch only, the
descriptor that of a few; so distances are reduced to a running minimum over chunks of the bank, and
arg-min is taken for the few most anomalous patches.

Roth et al., "Towards Total Recall in Industrial Anomaly Detection", CVPR 2022.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from calibration.learning.patch_scores import patches_scored
from calibration.teaching.names import (
    BANK_CENTER,
    BANK_NORMS,
    CENTERED_BANK,
    CHUNK_ROWS,
    EXTENDED_PATCHES,
    GOOD_BOUND,
    GOOD_SCALE,
    MEMORY_BANK,
    NEAREST_PARTIALS,
    POOLED_PREFIX,
    ROW_NUMBERS,
)
from export.backbones.extractors import Normalization
from export.inference_graph import (
    InferenceGraph,
    SeparableGaussian,
    Uint8Input,
    defect_descriptor,
    good_scores_buffer,
)
from export.models.patchcore.inside import Inside
from export.projection import Projection, stack
from runtime.engines.base import (
    ANOMALY_MAP,
    EMBEDDING,
    PRED_SCORE,
    SUPPORT,
    TOP_PARTIALS,
    TOP_PATCHES,
    TOP_PROTOTYPES,
)

_NOWHERE = float(2**24)
# Patches that speak for the part, the most anomalous ones, each with its distance to this power: a
# large defect speaks through all, a small one through its own (benchmarks/descriptors.py).
DESCRIPTOR_PATCHES = 32
_POWER = 8
# What is there, beside how it differs from what should be there, which has length 1.
_PRESENCE = 0.2


def local_average(side: int) -> nn.AvgPool2d:
    """The mean over a patch and its neighbors. With a side of 1 it marks where networks end."""
    return nn.AvgPool2d(side, 1, side // 2)


class PatchCoreGraph(InferenceGraph):
    """uint8 image to (pred_score, anomaly_map, embedding).

    Args:
        extractor: anomalib's frozen feature extractor, ``{layer: (1, C, h, w)}``.
        layers: layer names in the order of concatenation; the first one sets the map's resolution.
        memory_bank: float32 (K, D).
        normalization: of the backbone.
        num_neighbors: of the re-weighting; 1 means none.
        good_scores: raw score of a typical good part and the bound that few exceed, for the
            descriptor.
        projection: of stacked layers to patches; None stacks them as they are.
        score_share: the score is the mean of this share of the patches, the most anomalous ones; 0
            means the re-weighted maximum.
        score_blur: deviation in patches of the Gaussian over the distances before that mean.
        chunk_rows: rows of the bank per product.
        pooling: side in patches of the average over a patch's neighborhood; 1 is none.
        inside: the patches that count, where there is a region of interest; the extractor is then
            one that sees nothing else.
    """

    replaceable = (MEMORY_BANK, GOOD_BOUND, GOOD_SCALE, ROW_NUMBERS)
    memory_bank: torch.Tensor
    good_bound: torch.Tensor
    good_scale: torch.Tensor
    row_numbers: torch.Tensor

    def __init__(
        self,
        extractor: nn.Module,
        layers: Sequence[str],
        memory_bank: torch.Tensor,
        normalization: Normalization,
        num_neighbors: int,
        good_scores: tuple[float, float],
        projection: Projection | None = None,
        score_share: float = 0.0,
        score_blur: float = 0.0,
        chunk_rows: int = CHUNK_ROWS,
        pooling: int = 3,
        inside: Inside | None = None,
    ) -> None:
        super().__init__()
        self.input = Uint8Input(normalization)
        self.extractor = extractor
        self.layers = list(layers)
        self.pool = local_average(pooling)
        self.num_neighbors = num_neighbors
        self.projection = projection
        self.score_share = score_share
        self.smoothing = SeparableGaussian(score_blur)
        self.chunk_rows = chunk_rows
        self.inside = inside
        self.register_buffer(MEMORY_BANK, memory_bank.float().contiguous())
        # Apart, so that each keeps its name in the exported graph: teaching replaces them.
        bound, scale = good_scores_buffer(good_scores)
        self.register_buffer(GOOD_BOUND, bound)
        self.register_buffer(GOOD_SCALE, scale)
        self.register_buffer(ROW_NUMBERS, torch.arange(len(memory_bank), dtype=torch.float32))

    def read(self, *features: torch.Tensor) -> dict[str, torch.Tensor]:
        """The outputs from patch features, float32 (1, D, h, w), and what needed the whole bank.

        What follows the features depends on the number of prototypes through the named tensors
        alone, so that another bank can take its place (:mod:`calibration.teaching.new_bank`).
        """
        (stacked,) = features
        height, width = stacked.shape[-2:]
        patches = stacked.permute(0, 2, 3, 1).reshape(height * width, -1)
        # Distances do not change when both sides move; around the bank's mean |x|^2 + |y|^2 - 2xy
        # cancels less.
        center = self.memory_bank.mean(dim=0, keepdim=True)
        bank = self.memory_bank - center
        bank_norms = bank.square().sum(dim=1)
        centered = patches - center
        extended = torch.cat([centered, torch.ones_like(centered[:, :1])], dim=1)
        nearest = self._nearest_partial(extended, bank, bank_norms)
        squared = centered.square().sum(dim=1) + nearest
        # All that follows reads the map and what is named: another search for the nearest can take
        # the place of this one.
        anomaly_map = squared.reshape(1, 1, height, width).clamp_min(0.0).sqrt()
        count = height * width
        if self.inside is not None:
            anomaly_map, count = anomaly_map * self.inside.cells, self.inside.count

        top = torch.topk(anomaly_map.flatten(), min(DESCRIPTOR_PATCHES, count)).indices
        top_patches = centered[top]
        partials = bank_norms - 2.0 * (top_patches @ bank.T)
        prototypes = first_smallest(partials, self.row_numbers)
        seams = {
            BANK_CENTER: center,
            CENTERED_BANK: bank,
            BANK_NORMS: bank_norms,
            EXTENDED_PATCHES: extended,
            NEAREST_PARTIALS: nearest,
            TOP_PATCHES: top_patches,
            TOP_PARTIALS: partials,
            TOP_PROTOTYPES: prototypes,
        }
        if self.score_share:
            smooth = self.smoothing(anomaly_map)
            if self.inside is not None:
                smooth = smooth * self.inside.weights
            scored = patches_scored(self.score_share, count)
            score = torch.topk(smooth.flatten(), scored).values.mean()
        else:
            score = anomaly_map.amax(dim=(1, 2, 3))
            if self.num_neighbors > 1:
                around = bank_norms - 2.0 * (bank @ bank[prototypes[0]])
                support = torch.topk(
                    around, min(self.num_neighbors, len(bank)), largest=False
                ).indices
                score = score * reweighting(partials[0, support] + top_patches[0].square().sum())
                seams[SUPPORT] = support
        distances = top_patches.square().sum(dim=1) + partials.amin(dim=1)
        direction = _direction(top_patches, bank[prototypes], distances)
        embedding = defect_descriptor(direction, score, (self.good_bound, self.good_scale))
        return {
            PRED_SCORE: score.reshape(1),
            ANOMALY_MAP: anomaly_map,
            EMBEDDING: embedding,
            **seams,
        }

    def features(self, image: torch.Tensor) -> tuple[torch.Tensor]:
        """The patch features, float32 (1, D, h, w)."""
        return (self._patches(self._pooled(image)),)

    def _pooled(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        maps = self.extractor(self.input(image))
        return {layer: self.pool(maps[layer]) for layer in self.layers}

    def _patches(self, pooled: dict[str, torch.Tensor]) -> torch.Tensor:
        return stack(pooled, self.layers) if self.projection is None else self.projection(pooled)

    def _run(self, image: torch.Tensor) -> tuple[tuple[torch.Tensor, ...], dict[str, torch.Tensor]]:
        """As of any graph, with names for what the projection reads."""
        pooled = self._pooled(image)
        outputs, seams = self._with_seams((self._patches(pooled),))
        before = {f"{POOLED_PREFIX}{index}": one for index, one in enumerate(pooled.values())}
        return outputs, {**before, **seams}

    def _nearest_partial(
        self, extended: torch.Tensor, bank: torch.Tensor, norms: torch.Tensor
    ) -> torch.Tensor:
        """Minimum over the bank of |y|^2 - 2xy; a chunk's product never leaves the cache."""
        smallest: torch.Tensor | None = None
        for start in range(0, bank.shape[0], self.chunk_rows):
            rows, row_norms = (
                bank[start : start + self.chunk_rows],
                norms[start : start + self.chunk_rows],
            )
            found = (extended @ torch.cat([-2.0 * rows, row_norms[:, None]], dim=1).T).amin(dim=1)
            smallest = found if smallest is None else torch.minimum(smallest, found)
        if smallest is None:
            raise ValueError("memory_bank: expected at least one row, found none")
        return smallest


def _direction(
    patches: torch.Tensor, prototypes: torch.Tensor, squared: torch.Tensor
) -> torch.Tensor:
    """What sets anomalous patches apart from good ones, float32 (1, D).

    Args:
        patches: around the bank's mean, float32 (N, D).
        prototypes: the nearest to each, likewise.
        squared: distances between them, (N,).
    """
    share = squared.clamp_min(0.0) / squared.amax(dim=0).clamp_min(1e-30)
    weights = share.pow(_POWER // 2)[:, None]
    differing = F.normalize((weights * (patches - prototypes)).sum(dim=0, keepdim=True), dim=1)
    there = F.normalize((weights * patches).sum(dim=0, keepdim=True), dim=1)
    return differing + _PRESENCE * there


def reweighting(squared: torch.Tensor) -> torch.Tensor:
    """Equation 7 of the paper: how usual a patch's nearest prototype is among its neighbors.

    Args:
        squared: squared distances of the patch to that prototype and to its neighbours, float32
            (neighbours,).
    """
    return 1.0 - torch.softmax(squared.clamp_min(0.0).sqrt(), dim=0)[0]


def first_smallest(rows: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Arg-min of every row of (N, K), the first one of equals, int64 (N,).

    Engines make a sort of the whole row of ``argmin``, which takes as long as the product with a
    large bank.

    Args:
        rows: float32 (N, K).
        positions: 0 to K - 1, float32 (K,), which counts to 2**24 exactly, more rows than a bank
            has.
    """
    smallest = rows.amin(dim=1, keepdim=True)
    found = torch.where(rows <= smallest, positions, _NOWHERE).amin(dim=1)
    # NaN equals nothing.
    return torch.where(found < _NOWHERE, found, 0.0).long()
