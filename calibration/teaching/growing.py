"""A memory bank that takes in patches of more parts and stays within its budget."""

from __future__ import annotations

import numpy as np

from calibration.learning.copies import Copies, with_copies
from calibration.learning.coreset import select_coreset
from calibration.learning.distances import Places, blocks, squared_distances
from runtime.progress import track
from runtime.types import Float32, Floats

# Patches whose distances to the whole bank are held at once: 40 MiB with 10,000 prototypes.
_ROWS = 1024


def grow(
    bank: Float32, patches: Float32, budget: int, seed: int = 0, copies: Copies | None = None
) -> tuple[Float32, Places]:
    """Take patches of more parts into a bank.

    A greedy coreset covers what it was selected from as closely as its two nearest prototypes are
    to each other (Gonzalez 1985). New patches that the bank covers as closely teach it nothing; of
    the others and the bank itself a coreset of the budget's size is selected. What is not chosen
    again stands nearest to what is: the least useful prototypes leave.

    Args:
        bank: float32 (K, D), at least two prototypes.
        patches: of the new parts, float32 (n, P, D).
        budget: prototypes at most; a larger bank keeps its size.
        seed: of the first prototype.
        copies: patches of copies of the new parts.

    Returns:
        All patches, float32 (n + m, P, D): the new parts', and behind them the old bank's rows,
        the last one repeated until they fill m parts; and the places of the new bank among their
        (n + m) * P rows, and the copies' behind them.
    """
    count, each, width = patches.shape
    rows = -(-len(bank) // each) * each
    filled = np.concatenate([bank, np.repeat(bank[-1:], rows - len(bank), axis=0)])
    both = np.concatenate([patches, filled.reshape(-1, each, width)])
    every = with_copies(both, copies)
    known = count * each + np.arange(len(filled))
    others = np.delete(np.arange(len(every)), known)
    new = others[nearest(every[others], bank) > least_distance(bank)]
    places = np.concatenate([known[: len(bank)], new])
    size = min(len(places), max(budget, len(bank)))
    if size < len(places):
        places = places[select_coreset(every[places], size, seed)]
    return both, places


def nearest(patches: Float32, bank: Float32) -> Floats:
    """Distance of every patch (N, D) to its nearest prototype (K, D): (N,)."""
    found = [
        squared_distances(patches[block], bank).min(axis=1)
        for block in track(blocks(len(patches), _ROWS), "what is new")
    ]
    return np.asarray(np.sqrt(np.concatenate(found)), dtype=np.float64)


def least_distance(bank: Float32) -> float:
    """Between the two prototypes that are nearest to each other; 0 where there is one alone."""
    least = np.inf
    for block in blocks(len(bank), _ROWS):
        squared = squared_distances(bank[block], bank)
        places = np.arange(block.start, block.stop)
        squared[places - block.start, places] = np.inf
        least = min(least, float(squared.min()))
    return float(np.sqrt(least)) if np.isfinite(least) else 0.0
