"""A sequential test of exchangeability: do the newest parts look like all parts before them?

For each number that is watched (a raw score, a statistic of the picture):

1. **Conformal p-values** (Vovk, Nouretdinov and Gammerman 2003). The new value's rank among the
   calibrated good parts and all parts seen since, itself included, ties broken at random. If they
   are exchangeable, the ranks are independent and uniform on (0, 1), exactly, for any distribution
   and any number of good parts.
2. **Bets.** Each of a few functions f of the rank is a bet against that, on low or on high ranks,
   with mean 1 under uniformity. Divided by (1 - s) + s max f it stays a fair bet while a share s of
   the parts may look however they like (Huber's contamination model; Saha and Ramdas 2024): bad
   parts are not drift.
3. **Shiryaev-Roberts**: R = (1 + R) e after each part, e being the bet's value, sums the bets that
   started at each earlier part. R minus the number of parts is a supermartingale, and so is the
   mean M of all R. Hence, without any change, the average number of parts until M reaches c is at
   least c, and the chance that it does within the first n parts at most n / c (Shin, Ramdas and
   Rinaldo 2022, "E-detectors").
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import Literal

import numpy as np

from runtime.types import Floats

# Each bet puts half of its stake on this share of the ranks: a strong change is seen by the first,
# a weak one by the last.
SHARES = (0.05, 0.15, 0.5)
STAKE = 0.5
Side = Literal["low", "high"]
SIDES: tuple[Side, Side] = ("low", "high")


class Ranks:
    """A growing collection that tells a new value's rank in it; equal values are stored once."""

    def __init__(self, counts: Iterable[tuple[float, int]] = ()) -> None:
        pairs = sorted(counts)
        # Lists, not arrays: for a few thousand values Python's bisect is several times as fast.
        self._values = [value for value, _ in pairs]
        self._counts = [count for _, count in pairs]
        self._total = sum(self._counts)

    def rank(self, value: float, tie: float, *, keep: bool = True) -> float:
        """Where a value lies among all values, itself included.

        Args:
            value: a finite number.
            tie: in [0, 1]; share of the equal values, itself included, that count as lower.
            keep: take it in, so that later ones are compared with it too.

        Returns:
            Its rank in [0, 1].
        """
        place = bisect_left(self._values, value)
        known = place < len(self._values) and self._values[place] == value
        equal = 1 + (self._counts[place] if known else 0)
        rank = (sum(self._counts[:place]) + tie * equal) / (self._total + 1)
        if keep and known:
            self._counts[place] += 1
        elif keep:
            self._values.insert(place, value)
            self._counts.insert(place, 1)
        self._total += keep
        return rank

    def counts(self) -> list[tuple[float, int]]:
        """Values with how often each was seen, ascending."""
        return list(zip(self._values, self._counts, strict=True))

    def __len__(self) -> int:
        return self._total


def bets(ranks: Floats, tolerated_share: float) -> Floats:
    """What every bet is worth after a part, (k, 2, 3) for k numbers, two sides and three shares.

    Args:
        ranks: (k,), in [0, 1]; NaN for a number that this part does not have, whose bets are not
            placed.
        tolerated_share: share of parts that may look however they like, in [0, 1).
    """
    shares = np.array(SHARES)
    tails = np.stack([ranks, 1.0 - ranks], axis=1)[:, :, None]
    highest = 1.0 - STAKE + STAKE / shares
    values = np.where(tails <= shares, highest, 1.0 - STAKE)
    fair = values / (1.0 - tolerated_share + tolerated_share * highest)
    return np.where(np.isnan(tails), 1.0, fair)


class ShiryaevRoberts:
    """The sums of all bets, and for each the part at which it began to win.

    Attributes:
        sums: R, shape (k, 2, 3).
        page: Page's CUSUM of the same bets (Page 1954); its last start is the maximum-likelihood
            estimate of the change.
        starts: the part at which ``page`` last started, from 1, int (k, 2, 3).
        parts: number of parts seen.
    """

    def __init__(self, count: int) -> None:
        shape = (count, len(SIDES), len(SHARES))
        self.sums = np.zeros(shape)
        self.page = np.ones(shape)
        self.starts = np.ones(shape, dtype=np.int64)
        self.parts = 0

    def update(self, worth: Floats) -> float:
        """Take in a part.

        Args:
            worth: of each bet, (k, 2, 3).

        Returns:
            M, the mean of all sums.
        """
        self.parts += 1
        self.starts = np.where(self.page <= 1.0, self.parts, self.starts)
        # Capped far beyond any limit, but finite: months of a changed line would overflow.
        self.page = np.minimum(np.maximum(self.page, 1.0) * worth, 1e200)
        self.sums = np.minimum((1.0 + self.sums) * worth, 1e200)
        return float(self.sums.mean())

    def strongest(self) -> tuple[int, Side, int]:
        """Which number changed most, to which side, and since about which part (from 1)."""
        number, side, share = np.unravel_index(int(np.argmax(self.sums)), self.sums.shape)
        return int(number), SIDES[int(side)], int(self.starts[number, side, share])

    def reset(self) -> None:
        """Forget all bets; the number of parts goes on."""
        self.sums[:] = 0.0
        self.page[:] = 1.0
        self.starts[:] = self.parts + 1
