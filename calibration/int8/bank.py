"""PatchCore's memory bank in INT8: rebuilt for quantized networks, and made small for the search.

The prototypes are patches of training pictures as the fp32 network saw them. The quantized network
sees the same patch a little differently, so distances to the old prototypes contain the
quantization error of every patch, and good parts look worse than they are. Each prototype therefore
moves as the patch most like it moved. Where the training pictures are given, that patch is the
prototype itself, and the bank becomes exactly what the quantized network makes of it.

The coarse search compares fewer numbers a patch. Patches lie near a space of few dimensions: of
lite0's two layers 57 of 152 principal components hold 90 % of the prototypes' variance, of its
three layers 85 of 472 (Magnetic Tile Defects). Only those are compared. Of what lies outside each
patch keeps the length r; two such remainders of lengths r and s add r^2 + s^2 - 2crs to the squared
distance, where c is their cosine, and a typical c, of prototypes and their own nearest ones, is
taken for all. (c = 1 would be the lower bound that the triangle inequality gives.)

The components are then turned at random, by a rotation, which changes no distance: before, the
first of them reach several times as far as the last, after it all reach equally far, so that one
grid fits them all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime.progress import track
from runtime.types import Float32

Rows = npt.NDArray[np.intp]

# Share of the prototypes' variance that the components hold.
VARIANCE = 0.9
# Integer products run in groups of so many numbers.
_GROUP = 16
# Least share of the components: good parts may differ in few ways, and bad ones in others.
_LEAST = 1 / 6
# Leaving out less than this share costs more than it saves.
_WORTH = 0.25
# Prototypes that the cosine is taken from.
_SAMPLE = 2048
# Distances held at once: 64 MB of them, and their order.
_AT_ONCE = 1 << 24


def rebuild_bank(bank: Float32, seen: Iterable[tuple[Float32, Float32]]) -> Float32:
    """Move every prototype as the patch nearest to it moved.

    Args:
        bank: float32 (K, D), prototypes of the fp32 network.
        seen: patches of one picture each, float32 (P, D): as the fp32 and as the quantized network
            sees them.

    Returns:
        float32 (K, D).
    """
    center = bank.mean(axis=0)
    prototypes = bank - center
    nearest = np.full(len(bank), np.inf, dtype=np.float32)
    shift = np.zeros_like(bank)
    for exact, quantized in seen:
        patches = exact - center
        # |x|^2 - 2xy orders the patches of one prototype as the distance does.
        partial = (patches**2).sum(axis=1) - 2.0 * (prototypes @ patches.T)
        best = partial.argmin(axis=1)
        found = partial[np.arange(len(bank)), best]
        closer = found < nearest
        nearest[closer] = found[closer]
        chosen = best[closer]
        shift[closer] = quantized[chosen] - exact[chosen]
    return np.asarray(bank + shift, dtype=np.float32)


def nearest_prototypes(bank: Float32, count: int, of: Rows | None = None) -> npt.NDArray[np.int32]:
    """Rows of the prototypes nearest to prototypes, themselves among them, the nearest first.

    Args:
        bank: centered prototypes, float32 (K, D).
        count: at most K.
        of: rows of the prototypes asked for, (n,); None for all K.

    Returns:
        int32 (n, count).
    """
    asked = np.arange(len(bank)) if of is None else of
    norms = (bank**2).sum(axis=1)
    found = np.empty((len(asked), count), dtype=np.int32)
    block = max(1, _AT_ONCE // len(bank))
    for start in track(range(0, len(asked), block), "INT8: neighbours of prototypes"):
        some = slice(start, start + block)
        partial = norms - 2.0 * (bank[asked[some]] @ bank.T)
        nearest = np.argpartition(partial, count - 1, axis=1)[:, :count]
        order = np.argsort(np.take_along_axis(partial, nearest, axis=1), axis=1, kind="stable")
        found[some] = np.take_along_axis(nearest, order, axis=1)
    return found


@dataclass(frozen=True)
class Reduction:
    """Patches and prototypes in the space of the coarse search.

    Attributes:
        matrix: float32 (d, D) with orthonormal rows: from a centered patch to its components.
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
        bank: centered prototypes, float32 (K, D), two or more.
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
    """How well prototypes' remainders agree with those of the nearest other ones, 0 to 1."""
    sample = np.unique(np.linspace(0, len(bank) - 1, _SAMPLE).astype(np.intp))
    near = nearest_prototypes(bank, 2, sample)
    others = np.where(near[:, 0] == sample, near[:, 1], near[:, 0])
    these, those = outside[sample], outside[others]
    longest = np.linalg.norm(these, axis=1) @ np.linalg.norm(those, axis=1)
    return float(np.clip((these * those).sum() / max(float(longest), 1e-30), 0.0, 1.0))
