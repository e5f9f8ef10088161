"""PatchCore's memory bank as the quantised network sees it.

The prototypes are patches of training pictures as the fp32 network saw them. The quantised network
sees the same patch a little differently, so distances to the old prototypes contain the
quantisation error of every patch, and good parts look worse than they are. Each prototype therefore
moves as the patch most like it moved. Where the training pictures are given, that patch is the
prototype itself, and the bank becomes exactly what the quantised network makes of it.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from runtime.types import Float32


def rebuild_bank(bank: Float32, seen: Iterable[tuple[Float32, Float32]]) -> Float32:
    """Move every prototype as the patch nearest to it moved.

    Args:
        bank: float32 (K, D), prototypes of the fp32 network.
        seen: patches of one picture each, float32 (P, D): as the fp32 and as the quantised network
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
