"""A golden picture replayed now and then: an engine that went wrong is caught between two parts."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from runtime.bundle.manifest import Variant
from runtime.bundle.reference import Reference, bound_of, golden_picture
from runtime.errors import EngineError
from runtime.images.heatmap import upsample_map
from runtime.prediction import RawOutputs
from runtime.types import Float32Map, UInt8Image

log = logging.getLogger("lineside")

# No verdict is older than this without a passed canary before it; one costs as much as one part.
EVERY_S = 60.0
EVERY_PARTS = 500
# Share of the map's pixels that are held to the bound, as for verify.
_QUANTILE = 0.99


class Canary:
    """The golden pictures of one variant, one after the other.

    Args:
        root: folder of the bundle.
        variant: which one.
        reference: what it is held to.
        periodic: whether it is due now and then; else only when the engine is suspected.
    """

    def __init__(
        self, root: Path, variant: Variant, reference: Reference, *, periodic: bool = False
    ) -> None:
        self._root, self._variant, self._periodic = root, variant, periodic
        self._reference = reference
        maps = reference.said.maps
        low, high = min(float(one.min()) for one in maps), max(float(one.max()) for one in maps)
        self._map_range = max(high - low, 1e-12)
        self._pictures: dict[int, UInt8Image] = {}
        if periodic:
            # Before another bundle may be copied over this one.
            count = len(reference.said.scores)
            self._pictures = {index: golden_picture(root, index) for index in range(count)}
        self._next = 0
        self._parts = 0
        self._passed_at = float("-inf")
        self._suspected = False

    def suspect(self) -> None:
        """Make it due before the next part."""
        self._suspected = True

    def is_due(self) -> bool:
        """Whether to check before the next part; counts the part."""
        if self._suspected:
            return True
        self._parts += 1
        return self._periodic and (
            self._parts > EVERY_PARTS or time.monotonic() - self._passed_at >= EVERY_S
        )

    def check(self, infer: Callable[[UInt8Image], RawOutputs]) -> None:
        """Replay the next golden picture.

        Args:
            infer: runs the engine.

        Raises:
            EngineError: the engine says something else than when the bundle was made.
        """
        said, index = self._reference.said, self._next
        if index not in self._pictures:
            self._pictures[index] = golden_picture(self._root, index)
        found = infer(self._pictures[index])
        expected, bound = float(said.scores[index]), bound_of(self._variant.precision)
        away = abs(found.pred_score - expected) / max(self._reference.score_range, 1e-12)
        map_away = _map_difference(said.maps[index], found.anomaly_map) / self._map_range
        if not (away <= bound and map_away <= bound):
            what = (
                f"raw score {found.pred_score:.4g}, expected {expected:.4g}"
                if not away <= bound
                else f"heat map off by {map_away:.2g} of its range"
            )
            raise EngineError(f"it judges golden picture {index} otherwise than it should ({what})")
        # Only now: an engine that is opened again must pass where the one before has failed.
        self._next = (index + 1) % len(said.scores)
        self._suspected, self._parts, self._passed_at = False, 0, time.monotonic()
        log.debug(f"{self._variant.key}: golden picture {index} as it should be")


def _map_difference(expected: Float32Map, found: Float32Map) -> float:
    if found.shape != expected.shape:
        found = upsample_map(found, (expected.shape[0], expected.shape[1]), 0.0)
    return float(np.quantile(np.abs(expected - found), _QUANTILE))
