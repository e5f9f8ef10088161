"""A baseline from pictures of good parts: their statistics, and limits with a promise.

The good parts are split at random in two halves. The first gives, for every statistic, the typical
value and how far the farthest part lies from it on either side; the second gives the factor by
which the worst part of it exceeds these distances. A limit set there is a split conformal quantile
(Vovk et al. 2005) of one number per part, "how far out is its farthest statistic", so a new good
part lies outside any of the limits with probability at most 1 / (m + 1), m being the size of the
second half, whatever the distribution. The limits are then twice as far out, and never closer than
a margin that no camera should be blamed for: the promise is an upper bound, and the true rate far
below it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from calibration.scoring import Scored
from runtime.bundle.folder import Bundle
from runtime.errors import HealthError, ImageError
from runtime.health.baseline import (
    HEALTH_FILE,
    Health,
    Limit,
    PictureSize,
    keep_settings,
    write_health,
)
from runtime.health.statistics import STATISTICS, Statistic, measure
from runtime.images.preprocess import decode_rgb, resize
from runtime.images.roi import RegionOfInterest
from runtime.progress import track
from runtime.types import Floats

log = logging.getLogger("lineside")

MIN_PICTURES = 10
# Limits this many times as far from the typical part as any good part was.
FACTOR = 2.0
# Values kept for the drift test; more add nothing but bytes.
MOST_VALUES = 500
# A shape of picture differs when width / height leaves what was seen by more than this.
ASPECT_ROOM = 0.02
# How far a defect scores is unknown in advance; only what no part can be is refused for its score.
_SCORE_FACTOR = 10_000.0


@dataclass
class BaselineBuilder:
    """Gathers pictures of good parts one by one, then makes the baseline."""

    rows: list[dict[str, float]] = field(default_factory=list)
    sizes_hw: list[tuple[int, int]] = field(default_factory=list)

    def add(self, image_rgb: npt.NDArray[np.uint8], size_hw: tuple[int, int]) -> None:
        """Take in a picture.

        Args:
            image_rgb: uint8 (H, W, 3), RGB, at the model's size.
            size_hw: height and width that it had before.
        """
        self.rows.append(measure(image_rgb))
        self.sizes_hw.append(size_hw)

    def baseline(
        self, scores: Mapping[str, Sequence[float] | Floats], seed: int = 0
    ) -> Health | None:
        """The baseline, or None with fewer than ten pictures: too few to say what is usual.

        Args:
            scores: raw scores of good parts that training has not seen, by variant key.
            seed: of the split, and of the choice of values that are kept.
        """
        if len(self.rows) < MIN_PICTURES:
            return None
        values = {name: np.array([row[name] for row in self.rows]) for name in self.rows[0]}
        order = np.random.default_rng(seed).permutation(len(self.rows))
        limits, refused_rate = find_limits(values, order)
        kept = order[:MOST_VALUES]
        finite = {
            key: np.asarray(found, dtype=np.float64) for key, found in scores.items() if len(found)
        }
        return Health(
            limits=limits,
            size=_size(self.sizes_hw),
            score_limits={key: score_limit(found) for key, found in finite.items()},
            values={name: column[kept] for name, column in values.items()},
            scores=finite,
            n_good=len(self.rows),
            refused_rate=refused_rate,
            note=(
                f"at most {refused_rate:.2%} of good parts refused on average, from "
                f"{len(self.rows)} good pictures; limits are {FACTOR:g} times as wide as that "
                "promise asks"
            ),
        )


def find_limits(
    values: Mapping[str, Floats], order: npt.NDArray[np.intp]
) -> tuple[dict[str, Limit], float]:
    """Limits of the judged statistics, and the promised share of good parts outside of any.

    Args:
        values: of good parts by name of the statistic, each (n,).
        order: a random order of the parts; the first half measures, the second sets the factor.
    """
    first, second = np.split(order, [len(order) // 2])
    judged = {
        name: one
        for name, one in STATISTICS.items()
        if name in values and (one.judged_below or one.judged_above)
    }
    reach = {name: _reach(values[name][first], one) for name, one in judged.items()}
    farthest = np.max([reach[name].times(values[name][second]) for name in judged], axis=0)
    bare = max(1.0, float(farthest.max()))
    limits = {name: reach[name].limit(one, bare) for name, one in judged.items()}
    return limits, 1.0 / (len(second) + 1)


@dataclass(frozen=True)
class _Reach:
    """How far the first half's parts lie from the typical one, and the room where all may."""

    typical: float
    below: float
    above: float
    room_below: float
    room_above: float

    def times(self, values: Floats) -> Floats:
        """How many times farther out than any part of the first half, (n,); 0 within the room."""
        away = values - self.typical
        times = np.maximum(-away / self.below, away / self.above)
        return np.where((away >= -self.room_below) & (away <= self.room_above), 0.0, times)

    def limit(self, one: Statistic, bare: float) -> Limit:
        """The widened limits.

        Args:
            one: the statistic.
            bare: factor on the reach that the promise asks for, at least 1.
        """
        low, high = FACTOR * bare * self.below, FACTOR * bare * self.above
        # Twice as far may be whiter than white: then halfway between the bare limit and what a
        # picture can have at most.
        halfway = 0.5 * (bare * self.above + one.extreme - self.typical)
        high = min(high, max(bare * self.above, halfway))
        return Limit(
            self.typical - max(low, self.room_below) if one.judged_below else None,
            self.typical + max(high, self.room_above) if one.judged_above else None,
        )


def score_limit(good_scores: npt.ArrayLike) -> float:
    """Raw score that not even a bad part reaches: far beyond what good parts spread over."""
    scores = np.asarray(good_scores, dtype=np.float64)
    typical, highest = float(np.median(scores)), float(scores.max())
    return typical + _SCORE_FACTOR * max(highest - typical, 0.25 * abs(typical), 1e-9)


def _reach(values: Floats, one: Statistic) -> _Reach:
    """The reach, never 0 where all parts are alike, and room short of what is too much."""
    typical = float(np.median(values))
    least = 0.1 * one.room
    return _Reach(
        typical,
        max(typical - float(values.min()), least),
        max(float(values.max()) - typical, least),
        one.room,
        min(one.room, 0.5 * (one.extreme - typical)),
    )


def _size(sizes_hw: Sequence[tuple[int, int]]) -> PictureSize:
    heights, widths = np.array(sizes_hw, dtype=np.float64).T
    aspects = np.log(widths / heights)
    # As far beyond what was seen as the parts differ by a quarter: cut-outs of every shape stay
    # welcome.
    room = ASPECT_ROOM + 0.25 * float(np.ptp(aspects))
    aspect = Limit(float(np.exp(aspects.min() - room)), float(np.exp(aspects.max() + room)))
    return PictureSize(aspect, max(1, int(heights.min()) // 2), max(1, int(widths.min()) // 2))


def refresh_health(bundle: Bundle, good: Scored) -> None:
    """Write health.json from the good parts; its switches stay, with too few pictures all of it.

    Args:
        bundle: an open bundle folder.
        good: the good parts with the scores of every calibrated variant.

    Raises:
        HealthError: the file cannot be written; the old one is then untouched.
    """
    builder = _gathered(good.paths, bundle.manifest.input.size_hw, bundle.roi())
    health = builder.baseline(good.scores)
    if health is None:
        log.info(
            f"the check of pictures stays as it is: it needs {MIN_PICTURES} good pictures, found "
            f"{len(builder.rows)}"
        )
        return
    try:
        old = bundle.health()
    except HealthError as problem:
        old = None
        log.info(f"the damaged check of pictures is replaced: {problem}")
    # Left-out scores are other models', and the drift test compares as equals what it is given.
    unseen = {key: found[~good.left_out] for key, found in good.scores.items()}
    health = replace(health, scores={key: found for key, found in unseen.items() if len(found)})
    path = bundle.root / HEALTH_FILE
    try:
        write_health(path, keep_settings(health, old))
    except OSError as error:
        raise HealthError(
            f"{path}: expected to write it, but {error.strerror}; the old check of pictures stays "
            "in force, the new thresholds do too. Check the disk and the folder's owner"
        ) from error


def write_first_health(
    root: Path,
    photographs: Sequence[Path],
    size_hw: tuple[int, int],
    scores: Mapping[str, Floats],
    *,
    left_out: bool = False,
    roi: RegionOfInterest | None = None,
    before: Health | None = None,
) -> None:
    """Write health.json; with too few good parts there is none, and no picture is refused.

    Training pictures are as good as others here, for a picture's focus or light does not depend on
    what the model has seen; their scores do, so scores are those of the held-out parts alone.

    Args:
        root: bundle folder being built.
        photographs: the good parts.
        size_hw: model input size.
        scores: raw scores of good parts by models that have not seen them, by variant key.
        left_out: these models were others than the one in use, which has learned the parts, so the
            scores are no baseline for the drift test.
        roi: inside which alone a picture is looked at.
        before: of parts that looked otherwise, and that may still come: its limits stay open.
    """
    builder = _gathered(photographs, size_hw, roi)
    health = builder.baseline(scores)
    if health is not None and before is not None:
        health = both_looks(before, health)
    if health is None and before is not None:
        log.info(
            f"the check of pictures stays as it is: it needs {MIN_PICTURES} good parts to take "
            f"their look in, found {len(builder.rows)}"
        )
        # Scores of the bank before are no baseline for those of this one.
        write_health(root / HEALTH_FILE, replace(before, scores={}))
        return
    if health is None:
        log.info(
            f"no check of pictures: it needs {MIN_PICTURES} good parts, found "
            f"{len(builder.rows)}; add it later with: lineside calibrate BUNDLE --good DIR"
        )
        return
    # The model in use scores good parts a few percent lower. The drift test stayed quiet on solar
    # cells all the same, but what it promises, it promises for scores of one model.
    write_health(root / HEALTH_FILE, replace(health, scores={}) if left_out else health)


def both_looks(before: Health, now: Health) -> Health:
    """Limits that hold what two baselines hold; the drift test compares with the second.

    Args:
        before: of parts as they looked.
        now: of parts as they look now.
    """
    size = now.size
    if before.size is not None and size is not None:
        size = PictureSize(
            _either(before.size.aspect, size.aspect),
            min(before.size.min_height, size.min_height),
            min(before.size.min_width, size.min_width),
        )
    highest = {
        key: max(most, before.score_limits.get(key, most)) for key, most in now.score_limits.items()
    }
    return replace(
        keep_settings(now, before),
        limits={
            name: _either(before.limits[name], limit)
            for name, limit in now.limits.items()
            if name in before.limits
        },
        size=None if before.size is None else size,
        score_limits={**before.score_limits, **highest},
        n_good=before.n_good + now.n_good,
        refused_rate=None,
        note=f"{now.note}; and all that was let pass before: {before.note}",
    )


def _either(one: Limit, other: Limit) -> Limit:
    """What either lets pass."""
    lows, highs = (one.low, other.low), (one.high, other.high)
    return Limit(
        None if None in lows else min(low for low in lows if low is not None),
        None if None in highs else max(high for high in highs if high is not None),
    )


def _gathered(
    pictures: Sequence[Path], size_hw: tuple[int, int], roi: RegionOfInterest | None
) -> BaselineBuilder:
    builder = BaselineBuilder()
    for path in track(pictures, "picture statistics"):
        try:
            image = decode_rgb(path)
        except ImageError:
            continue  # told when the pictures were read first, or gone since
        resized = resize(image, size_hw)
        builder.add(resized if roi is None else roi.seen(resized), image.shape[:2])
    return builder
