"""How new each good picture is, which are suspects, and whether more would teach anything."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from calibration.learning.components import find_components, spread
from calibration.learning.distances import squared_distances
from calibration.learning.patch_scores import PatchScorer, patches_scored, smoothed
from calibration.teaching.lesson import Pictures, Settings, flat
from calibration.teaching.new_bank import TeachableGraph
from calibration.teaching.teach import teachable
from calibration.teaching.writing import OPENVINO
from runtime.bundle.folder import Bundle
from runtime.errors import DataError, ImageError
from runtime.images.dataset import list_images
from runtime.images.preprocess import digest_of
from runtime.progress import track
from runtime.types import Float32, Floats

# Patches of all pictures that each is compared with: a share of each picture's, drawn at random.
_MOST_ROWS = 12_800
_LEAST_EACH, _MOST_EACH = 16, 256
# A picture is as far from the others as its patches are, on average, from these most alike ones:
# two bad parts alike would otherwise vouch for one another.
_ALIKE = 3
# A suspect is this many deviations from the middle of the logarithms, by their median deviation,
# and this many times as far.
_DEVIATIONS, _TIMES = 2.5, 1.15
# Fewer do not tell what is usual.
_LEAST_PARTS = 4
# Twice as many pictures bring the others nearer by this share of their distance: less teaches
# hardly anything.
_LITTLE, _LEAST_TO_TELL = 0.05, 20
_LEAST = 1e-12


@dataclass(frozen=True)
class Seen:
    """One picture.

    Attributes:
        name: of its file.
        novelty: score against those before it, in units of the typical score against all others;
            None of the first. Where a bundle learns more of its part, what it knows counts as
            before, and the unit is what its own parts scored unseen.
        apart: score against the three most alike others, in units of the typical one.
        suspect: whether it is too far from the others to be one of them.
    """

    name: str
    novelty: float | None
    apart: float | None
    suspect: bool


@dataclass(frozen=True)
class Looked:
    """Pictures of good parts, before they are taught.

    Attributes:
        pictures: in order of their names.
        skipped: names of files that cannot be read.
        repeated: names of exact repeats.
        gain: by which share twice as many pictures brought each nearer to the others; None of few.
        enough: whether more would teach hardly anything.
    """

    pictures: tuple[Seen, ...]
    skipped: tuple[str, ...]
    repeated: tuple[str, ...]
    gain: float | None
    enough: bool

    def to_json(self) -> dict[str, Any]:
        """The fields of ``teach --look --json``."""
        return asdict(self)


def look_at(bundle: Path, good: Path, *, add: bool = False, seed: int = 0) -> Looked:
    """Compare pictures of good parts with one another, along their own principal components.

    Args:
        bundle: the PatchCore bundle that will be taught from.
        good: folder of pictures.
        add: compare them with what the bundle has learned, too, along its own components; for
            pictures of its own part.
        seed: of the patches that are drawn.

    Raises:
        BundleError: the bundle is unusable, or cannot be taught; or, with ``add``, is blank.
        DataError: no pictures.
    """
    with Bundle.open(bundle) as base:
        if add:
            base.require_part()
        graph, settings = teachable(base), Settings.of(base)
        paths = list_images(good)
        pictures = Pictures(paths, base.manifest.input.size_hw)
        places: dict[str, int] = {}
        skipped: list[str] = []
        repeated: list[str] = []
        for place, path in enumerate(track(paths, "looking at pictures")):
            try:
                digest = digest_of(pictures[place])
            except ImageError:
                skipped.append(path.name)
                continue
            if digest in places:
                repeated.append(path.name)
            else:
                places[digest] = place
        if not places:
            raise DataError(f"{good}: expected readable pictures of good parts, found none")
        names = [paths[place].name for place in places.values()]
        maps = _described(graph, settings, pictures, list(places.values()), own=not add)
        bank = graph.bank() if add else None
        unit = base.thresholds().of(OPENVINO.key).median_good_score if add else None
    found = _compared(maps, settings.scorer, seed, bank)
    return _told(names, found, tuple(skipped), tuple(repeated), unit)


def _described(
    graph: TeachableGraph, settings: Settings, pictures: Pictures, places: list[int], *, own: bool
) -> list[Float32]:
    """Maps of patches; along the pictures' own components, as teaching will find them."""
    components = None
    if own and graph.has_projection:
        pooled = graph.pooled()
        components = find_components(
            (pooled(pictures[places[one]]) for one in track(spread(len(places)), "components")),
            settings.dimensions,
            settings.whitening,
        )
    network = graph.patches(components)
    return [network(pictures[place])[0] for place in track(places, "describing pictures")]


def _compared(maps: list[Float32], scorer: PatchScorer, seed: int, bank: Float32 | None) -> Floats:
    """Scores (n, 4): against those before, all others, every second other one, and those alike.

    Args:
        maps: of patches, (D, h, w) each.
        scorer: of the bundle.
        seed: of the patches that are drawn.
        bank: prototypes that count as one more picture, before all others; None for none.
    """
    count, (height, width) = len(maps), maps[0].shape[1:]
    each = min(max(_MOST_ROWS // count, _LEAST_EACH), _MOST_EACH, height * width)
    rng = np.random.default_rng(seed)
    rows = [flat(one) for one in maps]
    drawn = np.concatenate([one[rng.permutation(len(one))[:each]] for one in rows])
    places = np.arange(count)
    scores = np.full((count, 4), np.nan)
    for place in track(range(count), "comparing pictures"):
        squared = squared_distances(rows[place], drawn).reshape(len(rows[place]), count, each)
        apart = np.sqrt(squared.min(axis=2))
        known = None if bank is None else np.sqrt(squared_distances(rows[place], bank).min(axis=1))
        others = places != place
        halves = places % 2 != place % 2
        for column, which in enumerate((places < place, others, others & halves, others)):
            most = _ALIKE if column == 3 else 1
            found = [] if known is None else [known]
            if which.any():
                found.append(np.sort(apart[:, which], axis=1)[:, :most].mean(axis=1))
            if found:
                distances = np.min(found, axis=0).astype(np.float32).reshape(height, width)
                scores[place, column] = _score(distances, scorer)
    return scores


def _score(distances: Float32, scorer: PatchScorer) -> float:
    if not scorer.share:
        return float(distances.max())
    smooth = smoothed(np.ascontiguousarray(distances, np.float32), scorer.blur).ravel()
    return float(np.sort(smooth)[-patches_scored(scorer.share, smooth.size) :].mean())


def _told(
    names: list[str],
    scores: Floats,
    skipped: tuple[str, ...],
    repeated: tuple[str, ...],
    unit: float | None,
) -> Looked:
    before, others, half, alike = scores.T
    typical = _typical(others) if unit is None else max(unit, _LEAST)
    logarithms = np.log(np.maximum(alike, _LEAST))
    middle = float(np.nanmedian(logarithms)) if len(names) > 1 else 0.0
    spread = 1.4826 * float(np.nanmedian(np.abs(logarithms - middle))) if len(names) > 1 else 0.0
    limit = middle + max(_DEVIATIONS * spread, math.log(_TIMES))
    suspects = (logarithms > limit) & (len(names) >= _LEAST_PARTS)
    seen = tuple(
        Seen(
            name,
            _rounded(before[at] / typical),
            _rounded(alike[at] / _typical(alike)),
            bool(suspects[at]),
        )
        for at, name in enumerate(names)
    )
    usual = ~suspects & ~np.isnan(half)
    gain = None
    if usual.sum() >= _LEAST_PARTS:
        gain = round(1.0 - float(others[usual].mean()) / max(float(half[usual].mean()), _LEAST), 4)
    enough = gain is not None and gain < _LITTLE and int(usual.sum()) >= _LEAST_TO_TELL
    return Looked(seen, skipped, repeated, gain, enough)


def _typical(scores: Floats) -> float:
    """The median, of one picture's none."""
    found = scores[~np.isnan(scores)]
    return max(float(np.median(found)), _LEAST) if found.size else 1.0


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 3)
