"""k-center greedy selection (arXiv 2106.08265 and 1708.00489), lazily and in batches.

Plain greedy updates the distance of every patch after every pick. Distances only shrink, so a value
computed against fewer centers is an upper bound, and a patch whose bound is below the current
radius cannot be the next pick: it is left alone until the radius has come down to it. What is stale
is then caught up in one matrix product.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from calibration.learning.distances import (
    BLOCK_CENTERS,
    BLOCK_ROWS,
    Patches,
    Places,
    Real,
    blocks,
    check_features,
)
from runtime.errors import TrainingError

# Patches whose mutual distances are computed at once; 1,024^2 float32 are 4 MiB.
_MAX_CANDIDATES = 1024
_MIN_POOL = 1024
_MAX_POOL = 65536
# Below 50 times the rounding error of a squared distance, a radius would be more than 1 % off: go
# to float64.
_TRUST = 50.0
_SELECTED = -1.0


def select_coreset(
    features: Real,
    n_select: int,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> Places:
    """Choose patches so that the farthest of the others is near a chosen one.

    The first patch is drawn at random; each further one is the patch farthest from all chosen
    before, so the first k indices are the greedy coreset of size k. No index comes twice, even
    among identical patches.

    Args:
        features: (N, D), float32 or float64; one row a patch.
        n_select: number of patches to choose, 1 to N.
        seed: of the first patch; the same seed and features give the same indices on the same
            machine.
        on_progress: called now and then with (chosen so far, ``n_select``).

    Returns:
        (n_select,) indices into ``features``, in the order of choice.

    Raises:
        TrainingError: features that are no finite matrix, or ``n_select`` out of range.
    """
    check_features(features)
    count = len(features)
    if not 1 <= n_select <= count:
        raise TrainingError(
            f"coreset: expected between 1 and {count} patches to select (there are {count}), "
            f"found {n_select}; "
            "change the coreset ratio"
        )
    selected: Places = np.random.default_rng(seed).integers(count, size=1)
    selected = _Selection(Patches(features), selected, n_select).run(on_progress)
    if len(selected) < n_select:
        exact = Patches(features, np.float64)
        selected = _Selection(exact, selected, n_select).run(on_progress)
    return selected


class _Selection:
    """For every patch an upper bound of its squared distance to the chosen centers."""

    def __init__(self, patches: Patches, selected: Places, n_select: int) -> None:
        self.patches = patches
        self.count = len(selected)
        self.selected: Places = np.empty(n_select, dtype=np.intp)
        self.centers: Real = np.empty((n_select, patches.rows.shape[1]), patches.rows.dtype)
        self.selected[: self.count] = selected
        self.centers[: self.count] = patches.as_centers(selected)
        self.bounds: Real = np.full_like(patches.norms, np.inf)
        # A patch's bound accounts for the first `seen` centers.
        self.seen = np.zeros(len(patches), dtype=np.intp)
        self.pool = 4 * _MIN_POOL
        self._catch_up(np.arange(len(patches)), floor=0.0)
        self.bounds[selected] = _SELECTED
        self.floor = _TRUST * patches.rounding if patches.rows.dtype == np.float32 else 0.0

    def run(self, on_progress: Callable[[int, int], None] | None) -> Places:
        """Select until there are enough, or until the radius is too small for this precision.

        Returns:
            (K,) indices, all that are chosen so far.
        """
        total = len(self.selected)
        while self.count < total:
            candidates = _largest(self.bounds, self.pool)
            values = self.bounds[candidates]
            if float(values.max()) < self.floor:
                break
            # Every patch outside the candidates is nearer than this, and can only come nearer
            # still.
            floor = max(float(values.min()), self.floor)
            self._catch_up(candidates, floor)
            self._select_among(candidates, floor)
            if on_progress is not None:
                on_progress(self.count, total)
        return self.selected[: self.count]

    def _catch_up(self, places: Places, floor: float) -> None:
        """Bring bounds up to date, giving up on a patch as soon as it falls below ``floor``.

        Args:
            places: (K,) of patches.
            floor: squared distance below which a patch is of no interest for now.
        """
        bounds, seen = self.bounds[places], self.seen[places]
        oldest = int(seen.min()) // BLOCK_CENTERS * BLOCK_CENTERS
        for start in range(oldest, self.count, BLOCK_CENTERS):
            end = min(start + BLOCK_CENTERS, self.count)
            stale = np.flatnonzero((seen < end) & (bounds >= floor))
            # Patches that have seen the same centers share a block, so that little is computed
            # twice.
            stale = stale[np.argsort(seen[stale], kind="stable")]
            for some in blocks(len(stale), BLOCK_ROWS):
                block = stale[some]
                unseen = self.centers[max(start, int(seen[block[0]])) : end]
                nearest = self.patches.nearest(places[block], unseen)
                bounds[block] = np.minimum(bounds[block], nearest)
            seen[stale] = end
        self.bounds[places], self.seen[places] = bounds, seen

    def _select_among(self, candidates: Places, floor: float) -> None:
        """Plain greedy among the candidates while the farthest of them is the farthest of all.

        Args:
            candidates: (K,) every patch that is farther than ``floor``; up to date if still
                above it.
            floor: squared distance that bounds all other patches.
        """
        bounds = self.bounds[candidates]
        far = np.flatnonzero(bounds >= floor)
        self._resize_pool(len(far))
        if len(far) > _MAX_CANDIDATES:
            far = _largest(bounds, _MAX_CANDIDATES)
            floor = float(bounds[far].min())
        if not len(far):
            return
        places, distances = candidates[far], bounds[far]
        mutual = self.patches.pairwise(places)
        picks: list[int] = []
        for _ in range(len(self.selected) - self.count):
            pick = int(distances.argmax())
            if distances[pick] < floor:
                break
            picks.append(pick)
            np.minimum(distances, mutual[pick], out=distances)
            distances[pick] = _SELECTED
        self._append(places[picks])
        self.bounds[places] = distances
        self.seen[places] = self.count

    def _append(self, picks: Places) -> None:
        end = self.count + len(picks)
        self.selected[self.count : end] = picks
        self.centers[self.count : end] = self.patches.as_centers(picks)
        self.count = end

    def _resize_pool(self, found: int) -> None:
        """Take more or fewer candidates next time: about as many as fit the mutual distances."""
        if found < _MAX_CANDIDATES // 4:
            self.pool = min(2 * self.pool, _MAX_POOL)
        elif found > 2 * _MAX_CANDIDATES:
            self.pool = max(self.pool // 2, _MIN_POOL)


def _largest(values: Real, count: int) -> Places:
    """Places of the ``count`` largest values, in any order; all of fewer."""
    if count >= len(values):
        return np.arange(len(values))
    return np.argpartition(values, len(values) - count)[len(values) - count :]


def covering_radius(features: Real, selected: Places) -> float:
    """Distance of the patch that is farthest from its nearest selected patch.

    Computed in float32; the patches that rounding could have put first are computed again in
    float64.

    Args:
        features: (N, D), float32 or float64; one row a patch.
        selected: (K,) indices into ``features``.

    Returns:
        The radius, in the features' own unit; 0.0 if every patch is selected or equals a selected
        one.

    Raises:
        TrainingError: features that are no finite matrix, or a selection that is empty or out of
            range.
    """
    check_features(features)
    count = len(features)
    if (
        selected.ndim != 1
        or not len(selected)
        or int(selected.min()) < 0
        or int(selected.max()) >= count
    ):
        raise TrainingError(
            f"coreset: expected a list of indices between 0 and {count - 1}, found shape "
            f"{tuple(selected.shape)} "
            "or an index out of range; take them from select_coreset on the same features"
        )
    rough = Patches(features)
    squared = _nearest(rough, np.arange(count), selected)
    farthest = np.flatnonzero(squared >= squared.max() - 2 * rough.rounding)
    del rough
    exact = Patches(features, np.float64)
    return exact.scale * math.sqrt(float(_nearest(exact, farthest, selected).max()))


def _nearest(patches: Patches, places: Places, selected: Places) -> Real:
    """Squared distance of each patch to the nearest selected one, in blocks: (K,)."""
    nearest: Real = np.full(len(places), np.inf, dtype=patches.rows.dtype)
    for some in blocks(len(selected), BLOCK_CENTERS):
        centers = patches.as_centers(selected[some])
        for block in blocks(len(places), BLOCK_ROWS):
            found = patches.nearest(places[block], centers)
            nearest[block] = np.minimum(nearest[block], found)
    # A selected patch is at distance zero from itself, whatever the rounding says.
    nearest[np.isin(places, selected)] = 0
    return nearest
