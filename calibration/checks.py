"""Is a folder of good parts what it says? Questions asked before a threshold is set on it."""

from __future__ import annotations

import logging
from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from calibration.scoring import Pictures, Scored, named
from runtime.bundle.thresholds import Threshold, Thresholds
from runtime.bundle.thresholds_file import last_from_good_parts
from runtime.console import percent
from runtime.errors import DataError

log = logging.getLogger("lineside")

# Scores of good parts have a long right tail, so a suspect must lie beyond it. On photographs of
# magnetic tiles, 4 names over half of the bad parts mixed in and 1 % of the good ones; 6 names a
# third and none.
SUSPECT_DEVIATIONS = 4.0
_MAD_TO_SIGMA = 1.4826
_MIN_FOR_SUSPECTS = 5
MIN_GOOD_IMAGES = 10


def suspects(good_scores: npt.ArrayLike) -> list[int]:
    """Places of scores so high that the part may be a bad one among the good.

    The spread is the median distance of the scores above the median from it (a one-sided MAD,
    Rousseeuw and Croux 1993): bad parts that are fewer than a quarter cannot hide themselves in it.

    Args:
        good_scores: raw scores (n,).

    Returns:
        Indices, highest score first; none with fewer than five scores or without any spread.
    """
    scores = np.asarray(good_scores, dtype=np.float64).ravel()
    if scores.size < _MIN_FOR_SUSPECTS:
        return []
    middle = float(np.median(scores))
    above = scores[scores > middle]
    spread = _MAD_TO_SIGMA * float(np.median(above - middle)) if above.size else 0.0
    if spread <= 0.0:
        return []
    found = np.flatnonzero(scores > middle + SUSPECT_DEVIATIONS * spread)
    return [int(index) for index in found[np.argsort(-scores[found], kind="stable")]]


def look_like_another_part(good_scores: npt.ArrayLike, recorded: Threshold) -> bool:
    """Whether a threshold that good parts set before would reject most of these (n,)."""
    return float(np.median(np.asarray(good_scores))) > recorded.image_threshold


def look_trained_on(good_scores: npt.ArrayLike, recorded: Threshold) -> bool:
    """Whether scores are so low that training may have seen these pictures.

    PatchCore keeps patches of its training pictures, so these score lower than any new part; a
    threshold set on them would reject most good parts. ``recorded`` was set by good parts before.
    """
    span = recorded.image_threshold - recorded.median_good_score
    middle = float(np.median(np.asarray(good_scores)))
    return span > 0.0 and middle < recorded.median_good_score - 0.5 * span


def check_good(pictures: Pictures, good: Scored, recorded: Thresholds, *, force: bool) -> None:
    """Warn about what weakens a calibration, and refuse what makes it worthless.

    Args:
        pictures: where the good parts are, for messages.
        good: the scored good parts.
        recorded: thresholds before the calibration.
        force: go on although the pictures look like another part.

    Raises:
        DataError: the pictures look like another part.
    """
    for copy, original in good.duplicates:
        log.warning(f"warning: {copy} is a copy of {original.name} and counts once")
    if good.learned:
        log.info(
            f"{len(good.learned)} pictures are left out, for training has seen them; "
            f"{len(good.paths)} remain"
        )
    if count := int(good.left_out.sum()):
        log.info(
            f"{count} of {len(good.paths)} pictures were learned; they count with the scores of a "
            "model that had not seen them"
        )
    if len(good.paths) < MIN_GOOD_IMAGES:
        log.warning(
            f"warning: expected at least {MIN_GOOD_IMAGES} good pictures, found "
            f"{len(good.paths)}; the threshold will be rough, add more"
        )
    if force:
        return
    refuse_another_part(pictures, good, recorded)
    key, scores = good.reference
    old = last_from_good_parts(recorded, key)
    if old is not None and look_trained_on(scores, old):
        log.warning(
            f"warning: these pictures score far lower (median {np.median(scores):.4g}) than the "
            f"good parts that set the threshold before ({old.median_good_score:.4g}); if the model "
            "was trained on them, the threshold is too low: use pictures that training has not seen"
        )


def refuse_another_part(pictures: Pictures, good: Scored, recorded: Thresholds) -> None:
    """The refusal of :func:`check_good`: the last threshold from good parts would reject most."""
    key, scores = good.reference
    old = last_from_good_parts(recorded, key)
    if old is not None and look_like_another_part(scores, old):
        raise DataError(
            f"{named(pictures)}: expected good parts of the kind that the model knows, but "
            f"{percent(float((scores > old.image_threshold).mean()))} of them score above the "
            f"threshold that good parts set before ({old.image_threshold:.4g}, typical score here "
            f"{np.median(scores):.4g}); check the folder, the camera and the light, and train "
            "again if the part has changed. If these pictures are right, add --force"
        )


def refuse_good_as_bad(good: Scored, bad: Scored, learned: Collection[str]) -> None:
    """Refuse a picture that is to be good and bad at once: it would set the threshold anywhere.

    Args:
        good: the scored good parts.
        bad: the scored bad parts.
        learned: digests of the pictures that training has seen as good ones.

    Raises:
        DataError: the bad parts hold such a picture.
    """
    by_digest = dict(zip(good.digests, good.paths, strict=True))
    both = [
        f"{path} (as {by_digest[digest]})"
        if digest in by_digest
        else f"{path} (which training has learned as good)"
        for path, digest in zip(bad.paths, bad.digests, strict=True)
        if digest in by_digest or digest in learned
    ]
    if both:
        more = f" and {len(both) - 3} more" if len(both) > 3 else ""
        raise DataError(
            f"--bad: expected pictures of bad parts alone, found {len(both)} that are among the "
            f"good ones: {', '.join(both[:3])}{more}; take them out of one of the two, and train "
            "again without bad parts"
        )
