"""A memory bank without one part, for each part in turn, at the price of one search.

A bank that is selected anew without a part differs from the whole one only where that part's
prototypes were. So these are taken out, and of the patches of other parts that they stood for the
farthest becomes a prototype, by the same greedy rule, until all are covered as closely as the whole
bank covers its patches. The result is a coreset of the other parts, and the part's score from it is
what a new part would score (the jackknife; Quenouille 1956, Barber et al. 2021).
"""

from __future__ import annotations

import numpy as np

from calibration.learning.copies import Copies, with_copies
from calibration.learning.distances import Places, blocks, squared_distances
from runtime.types import Float32

# Patches whose distances to the whole bank are held at once: 40 MiB with 10,000 prototypes.
_ROWS = 1024


class LeaveOneOut:
    """Banks of all parts but one.

    Args:
        patches: float32 (n, P, D), at least two parts.
        chosen: (M,), the whole bank: places among the n * P patches and the copies' behind them.
        least: rows that a bank must have.
        copies: patches of turned or mirrored copies, which leave with the part that they show.

    Attributes:
        patches: as given.
    """

    def __init__(
        self, patches: Float32, chosen: Places, least: int = 1, copies: Copies | None = None
    ) -> None:
        count, each, _ = patches.shape
        self.patches = patches
        self._flat = with_copies(patches, copies)
        self._part = np.repeat(np.arange(count), each)
        if copies is not None:
            self._part = np.concatenate([self._part, copies.part])
        self._bank = self._flat[chosen]
        self._bank_part = self._part[chosen]
        self._least = least
        # Of every patch: the part that its nearest prototype is of, and how far the nearest one of
        # any other part is.
        found = [self._stand_in(self._flat[block]) for block in blocks(len(self._flat), _ROWS)]
        self._covered_by = np.concatenate([part for part, *_ in found])
        self._without = np.concatenate([distance for _, distance, _ in found])
        self._radius = max(radius for *_, radius in found)

    def _stand_in(self, rows: Float32) -> tuple[Places, Float32, float]:
        squared = squared_distances(rows, self._bank)
        prototype = squared.argmin(axis=1)
        radius = float(np.sqrt(squared[np.arange(len(rows)), prototype].max()))
        part: Places = self._bank_part[prototype]
        squared[part[:, None] == self._bank_part] = np.inf
        return part, np.sqrt(squared.min(axis=1)), radius

    def bank(self, part: int) -> Float32:
        """The bank without a part, float32 (m, D), m about M.

        Args:
            part: its place, from 0.
        """
        kept = self._bank[self._bank_part != part]
        uncovered = (self._covered_by == part) & (self._part != part)
        patches, distances = self._flat[uncovered], self._without[uncovered]
        picks: list[int] = []
        while len(patches) and float(distances.max()) > self._radius:
            picks.append(int(distances.argmax()))
            nearer = np.linalg.norm(patches - patches[picks[-1]], axis=1)
            distances = np.minimum(distances, nearer)
        bank = np.concatenate([kept, patches[picks]])
        return bank if len(bank) >= self._least else self._flat[self._part != part]
