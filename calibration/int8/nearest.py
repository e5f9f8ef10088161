"""Which prototypes of a bank lie nearest to which."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from runtime.progress import track
from runtime.types import Float32

Rows = npt.NDArray[np.intp]

# Distances held at once: 64 MB of them, and their order.
_AT_ONCE = 1 << 24


def nearest_prototypes(bank: Float32, count: int, of: Rows | None = None) -> npt.NDArray[np.int32]:
    """For prototypes the rows of those nearest to them, themselves among them, int32 (n, count), the nearest first.

    Args:
        bank: centred prototypes, float32 (K, D).
        count: at most K.
        of: rows of the prototypes asked for, (n,); None for all K.
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
