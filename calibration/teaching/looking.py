"""How new each good picture is, which are suspects, and whether more would teach anything."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from calibration.learning.distances import squared_distances
from calibration.learning.patch_scores import PatchScorer, patches_scored, smoothed
from calibration.teaching.lesson import Settings, flat
from calibration.teaching.teach import teachable
from runtime.bundle.folder import Bundle
from runtime.errors import DataError, ImageError
from runtime.images.dataset import list_images
from runtime.images.preprocess import digest_of, load_image
from runtime.progress import track
from runtime.types import Float32, Floats

# Patches of all pictures that each is compared with: a share of each picture's, drawn at random.
_MOST_ROWS = 12_800
_LEAST_EACH, _MOST_EACH = 16, 256
# A suspect is this many deviations from the others' middle, by their median deviation, and this
# many times as far.
_DEVIATIONS, _TIMES = 5.0, 1.25
# Fewer do not tell what is usual.
_LEAST_PARTS = 4
# Twice as many pictures bring the others nearer by this share of their distance: less teaches
# hardly anything.
_LITTLE, _LEAST_TO_TELL = 0.05, 20


@dataclass(frozen=True)
class Seen:
    """One picture.

    Attributes:
        name: of its file.
        novelty: score against those before it, in units of the typical score against all others;
            None of the first.
        apart: the same against all others.
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


def look_at(bundle: Path, good: Path, *, seed: int = 0) -> Looked:
    """Compare pictures of good parts with one another, as the bundle's network describes them.

    Args:
        bundle: the PatchCore bundle that will be taught from.
        good: folder of pictures.
        seed: of the patches that are drawn.

    Raises:
        BundleError: the bundle is unusable, or cannot be taught.
        DataError: no pictures.
    """
    with Bundle.open(bundle) as base:
        network, scorer = teachable(base).patches(None), Settings.of(base).scorer
        size_hw = base.manifest.input.size_hw
        maps: dict[str, tuple[str, Float32]] = {}
        skipped: list[str] = []
        repeated: list[str] = []
        for path in track(list_images(good), "looking at pictures"):
            try:
                image = load_image(path, size_hw)
            except ImageError:
                skipped.append(path.name)
                continue
            digest = digest_of(image)
            if digest in maps:
                repeated.append(path.name)
            else:
                maps[digest] = path.name, network(image)[0]
    if not maps:
        raise DataError(f"{good}: expected readable pictures of good parts, found none")
    names = [name for name, _ in maps.values()]
    found = _compared([one for _, one in maps.values()], scorer, seed)
    return _told(names, found, tuple(skipped), tuple(repeated))


def _compared(maps: list[Float32], scorer: PatchScorer, seed: int) -> Floats:
    """Scores (n, 3): against those before, against all others, against every second other one."""
    count, (height, width) = len(maps), maps[0].shape[1:]
    each = min(max(_MOST_ROWS // count, _LEAST_EACH), _MOST_EACH, height * width)
    rng = np.random.default_rng(seed)
    rows = [flat(one) for one in maps]
    bank = np.concatenate([one[rng.permutation(len(one))[:each]] for one in rows])
    places = np.arange(count)
    scores = np.full((count, 3), np.nan)
    for place in track(range(count), "comparing pictures"):
        squared = squared_distances(rows[place], bank).reshape(len(rows[place]), count, each)
        nearest = np.sqrt(squared.min(axis=2))
        others = places != place
        for column, which in enumerate(
            (places < place, others, others & (places % 2 != place % 2))
        ):
            if which.any():
                distances = nearest[:, which].min(axis=1).reshape(height, width)
                scores[place, column] = _score(distances, scorer)
    return scores


def _score(distances: Float32, scorer: PatchScorer) -> float:
    if not scorer.share:
        return float(distances.max())
    smooth = smoothed(np.ascontiguousarray(distances, np.float32), scorer.blur).ravel()
    return float(np.sort(smooth)[-patches_scored(scorer.share, smooth.size) :].mean())


def _told(
    names: list[str], scores: Floats, skipped: tuple[str, ...], repeated: tuple[str, ...]
) -> Looked:
    before, others, half = scores.T
    if len(names) == 1:
        return Looked((Seen(names[0], None, None, False),), skipped, repeated, None, False)
    middle = max(float(np.median(others)), 1e-12)
    spread = 1.4826 * float(np.median(np.abs(others - middle)))
    limit = max(middle + _DEVIATIONS * spread, _TIMES * middle)
    suspects = (others > limit) & (len(names) >= _LEAST_PARTS)
    seen = tuple(
        Seen(
            name,
            None if np.isnan(before[at]) else round(float(before[at]) / middle, 3),
            round(float(others[at]) / middle, 3),
            bool(suspects[at]),
        )
        for at, name in enumerate(names)
    )
    usual = ~suspects & ~np.isnan(half)
    gain = None
    if usual.sum() >= _LEAST_PARTS:
        gain = round(1.0 - float(others[usual].mean()) / max(float(half[usual].mean()), 1e-12), 4)
    enough = gain is not None and gain < _LITTLE and int(usual.sum()) >= _LEAST_TO_TELL
    return Looked(seen, skipped, repeated, gain, enough)
