"""What no working engine says of a part, whatever the part looks like.

Two numbers come from what the bundle holds. The first is a quarter of the lowest raw score of any
good part or golden picture. Parts that a model has learned score about 0.7 of it, and nothing seen
so far less; a score below is no very good part, but none at all. Where scores may be negative it is
ten times their spread below the lowest. The second is the score's place between the lowest and the
highest value of its own map, at least half of the smallest such place among the golden pictures: a
score of zero over a map that shows a defect is no score.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from runtime.bundle.manifest import LEFT_OUT_SCORES, TRAIN_DIGESTS, Manifest
from runtime.bundle.reference import Reference
from runtime.bundle.thresholds import Threshold
from runtime.errors import ThresholdError
from runtime.health.baseline import Health
from runtime.images.preprocess import digest_of
from runtime.prediction import RawOutputs
from runtime.types import UInt8Image

# Pictures that differ by no more grey levels anywhere may well be the same to a quantized model.
NOISE_LEVELS = 8
_SHARE_OF_LOWEST = 0.25
_SHARE_OF_PLACE = 0.5
_SPREADS_BELOW = 10.0


@dataclass(frozen=True)
class Plausibility:
    """Limits of what is believed, for one variant.

    Attributes:
        lowest: raw score below which no part lies; minus infinity where nothing is known.
        least_place: of the score in its map's range, 0 at the map's lowest value and 1 at its
            highest; minus infinity where the bundle has no golden pictures.
        learned: digests of the pictures that training has seen, whose scores may be zero.
    """

    lowest: float
    least_place: float
    learned: Collection[str] = ()

    def problem(self, raw: RawOutputs, picture: UInt8Image) -> str:
        """Why an output is not believed, in one sentence; empty if it is."""
        if raw.pred_score < self.lowest and digest_of(picture) not in self.learned:
            return (
                f"raw score {raw.pred_score:.4g} is far below any good part's (at least "
                f"{self.lowest:.4g} expected): the engine is at fault, not the part"
            )
        if not raw.is_described and math.isfinite(self.lowest) and raw.pred_score >= self.lowest:
            return "the engine gave no descriptor: it is at fault, not the part"
        spread = raw.map_high - raw.map_low
        if spread > 0 and (raw.pred_score - raw.map_low) < self.least_place * spread:
            return (
                f"raw score {raw.pred_score:.4g} does not go with its own heat map "
                f"({raw.map_low:.4g} to {raw.map_high:.4g}): the engine is at fault, not the part"
            )
        return ""


def plausibility(
    variant_key: str,
    threshold: Threshold,
    health: Health | None,
    manifest: Manifest,
    reference: Reference | None,
) -> Plausibility:
    """The limits of a variant, from everything that the bundle knows of its scores."""
    known = known_scores(variant_key, health, manifest, reference)
    places: list[float] = []
    if reference is not None:
        for score, one in zip(reference.said.scores, reference.said.maps, strict=True):
            low, high = float(one.min()), float(one.max())
            places += [(float(score) - low) / (high - low)] if high > low else []
    recorded = manifest.provenance.get(TRAIN_DIGESTS)
    # The median alone is a number that somebody may have typed.
    known += [threshold.median_good_score] if known else []
    return Plausibility(
        _far_below(known),
        # A family whose score does not come from its map has places of any size.
        _SHARE_OF_PLACE * min(places) if places and min(places) >= 0 else -math.inf,
        frozenset(map(str, recorded)) if isinstance(recorded, list) else frozenset(),
    )


def known_scores(
    variant_key: str, health: Health | None, manifest: Manifest, reference: Reference | None
) -> list[float]:
    """Every raw score that the bundle holds: of good parts and of golden pictures."""
    known: list[float] = []
    if health is not None and variant_key in health.scores:
        known += map(float, health.scores[variant_key])
    left_out = manifest.provenance.get(LEFT_OUT_SCORES)
    if isinstance(left_out, dict):
        rows = (one for one in left_out.values() if isinstance(one, list) and one)
        known += [float(one[0]) for one in rows if isinstance(one[0], int | float)]
    if reference is not None:
        known += map(float, reference.said.scores)
    return known


def check_threshold(
    variant_key: str,
    threshold: Threshold,
    health: Health | None,
    manifest: Manifest,
    reference: Reference | None,
) -> None:
    """Refuse a threshold that lies far from every score that the bundle holds.

    Far is ten times their range: a threshold there calls every part good, or none.

    Raises:
        ThresholdError: it does.
    """
    known = known_scores(variant_key, health, manifest, reference)
    if not known:
        return
    room = _SPREADS_BELOW * max(max(known) - min(known), 1e-9)
    low, high = min(known) - room, max(known) + room
    for name in ("image_threshold", "pixel_threshold", "median_good_score"):
        value = getattr(threshold, name)
        if not low <= value <= high:
            raise ThresholdError(
                f"thresholds.json: {variant_key}: expected {name} between {low:.4g} and "
                f"{high:.4g}, for the scores that the bundle holds go from {min(known):.4g} to "
                f"{max(known):.4g}, found {value:.4g}; type: lineside thresholds BUNDLE set"
            )


def _far_below(known: Sequence[float]) -> float:
    lowest = min(known, default=-math.inf)
    if lowest > 0 or not known:
        return _SHARE_OF_LOWEST * lowest
    return lowest - _SPREADS_BELOW * max(max(known) - lowest, 1e-9)


class Repeats:
    """Notices an engine that says the same about different pictures, bit for bit."""

    def __init__(self) -> None:
        self._last: tuple[RawOutputs, UInt8Image] | None = None

    def problem(self, raw: RawOutputs, picture: UInt8Image) -> str:
        """Why an output is not believed, in one sentence; empty if it is."""
        last, self._last = self._last, (raw, picture)
        # Two parts hardly ever have the same score, so this is where it ends for nearly all.
        if last is None or last[0].pred_score != raw.pred_score or not _same(last[0], raw):
            return ""
        if cv2.norm(last[1], picture, cv2.NORM_INF) <= NOISE_LEVELS:
            return ""
        return (
            "the engine said exactly the same about the part before, whose picture is another one: "
            "it is at fault, not the part"
        )


def _same(first: RawOutputs, second: RawOutputs) -> bool:
    return np.array_equal(first.anomaly_map, second.anomaly_map) and np.array_equal(
        first.embedding, second.embedding
    )
