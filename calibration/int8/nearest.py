"""Which prototypes of a bank lie nearest to which."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]

# Rows a product: 64 MB of a bank of 16,000.
_BLOCK = 1024


def nearest_prototypes(bank: Float32, count: int) -> npt.NDArray[np.int32]:
    """For every prototype the rows of those nearest to it, itself among them, int32 (K, count), the nearest first.

    Args:
        bank: centred prototypes, float32 (K, D).
        count: at most K.
    """
    norms = (bank**2).sum(axis=1)
    found = np.empty((len(bank), count), dtype=np.int32)
    for start in range(0, len(bank), _BLOCK):
        block = slice(start, start + _BLOCK)
        partial = norms - 2.0 * (bank[block] @ bank.T)
        some = np.argpartition(partial, count - 1, axis=1)[:, :count]
        order = np.argsort(np.take_along_axis(partial, some, axis=1), axis=1, kind="stable")
        found[block] = np.take_along_axis(some, order, axis=1)
    return found
