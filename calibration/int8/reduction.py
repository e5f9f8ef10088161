"""Fewer numbers a patch for the coarse search, and the error of leaving some out made small.

Patches lie near a space of few dimensions: of lite0's two layers 57 of 152 principal components
hold 90 % of the prototypes' variance, of its three layers 85 of 472 (Magnetic Tile Defects). Only
those are compared. Of what lies outside each patch keeps the length r; two such remainders of
lengths r and s add r^2 + s^2 - 2crs to the squared distance, where c is their cosine, and a typical
c, of prototypes and their own nearest ones, is taken for all. (c = 1 would be the lower bound that
the triangle inequality gives.)

The components are then turned at random, by a rotation, which changes no distance: before, the
first of them reach several times as far as the last, after it all reach equally far, so that one
grid fits them all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calibration.int8.nearest import nearest_prototypes
from runtime.types import Float32

# Share of the prototypes' variance that the components hold.
VARIANCE = 0.9
# Integer products run in groups of so many numbers.
_GROUP = 16
# Share of the components that are kept at least: good parts may differ in few ways, and bad ones in
# others.
_LEAST = 1 / 6
# Leaving out less than this share costs more than it saves.
_WORTH = 0.25
# Prototypes that the cosine is taken from.
_SAMPLE = 2048


@dataclass(frozen=True)
class Reduction:
    """Patches and prototypes in the space of the coarse search.

    Attributes:
        matrix: float32 (d, D) with orthonormal rows: from a centred patch to its components.
        rows: components of the prototypes, float32 (K, d).
        remainders: lengths of what lies outside, float32 (K,); all 0 where d is D.
        cosine: c, in [0, 1].
    """

    matrix: Float32
    rows: Float32
    remainders: Float32
    cosine: float

    @property
    def is_whole(self) -> bool:
        """Whether nothing was left out."""
        return len(self.matrix) == len(self.matrix.T)


def reduce_bank(bank: Float32) -> Reduction:
    """Choose the components.

    Args:
        bank: centred prototypes, float32 (K, D), two or more.
    """
    width = bank.shape[1]
    values, vectors = np.linalg.eigh((bank.T @ bank).astype(np.float64))
    held = np.cumsum(values[::-1]) / max(float(values.sum()), 1e-30)
    # One place in the last group is for the remainder.
    wanted = max(int(np.searchsorted(held, VARIANCE)) + 1, round(_LEAST * width))
    groups = -(-(wanted + 1) // _GROUP)
    count = groups * _GROUP - 1
    if count + 1 > (1 - _WORTH) * width:
        count = width
    components = vectors[:, ::-1][:, :count].T
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(count, count)))
    matrix = np.asarray(rotation @ components, dtype=np.float32)
    rows = bank @ matrix.T
    if count == width:
        return Reduction(matrix, rows, np.zeros(len(bank), np.float32), 1.0)
    outside = np.asarray(bank - rows @ matrix, dtype=np.float32)
    return Reduction(matrix, rows, np.linalg.norm(outside, axis=1), _cosine(bank, outside))


def _cosine(bank: Float32, outside: Float32) -> float:
    """How well the remainders of prototypes agree with those of the nearest other ones, from 0 to 1."""
    sample = np.unique(np.linspace(0, len(bank) - 1, _SAMPLE).astype(np.intp))
    near = nearest_prototypes(bank, 2, sample)
    others = np.where(near[:, 0] == sample, near[:, 1], near[:, 0])
    these, those = outside[sample], outside[others]
    longest = np.linalg.norm(these, axis=1) @ np.linalg.norm(those, axis=1)
    return float(np.clip((these * those).sum() / max(float(longest), 1e-30), 0.0, 1.0))
