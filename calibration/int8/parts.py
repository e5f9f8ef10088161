"""Which pictures quantization may learn from, and which must stay unseen to judge it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from calibration.scoring import Pictures, digest_of, named, read_pictures
from calibration.synthetic import PATCH, synthetic_defects
from runtime.engines.base import Engine
from runtime.errors import DataError
from runtime.images.roi import RegionOfInterest
from runtime.progress import track
from runtime.types import Floats, UInt8Image

log = logging.getLogger("lineside")

# Enough for the ranges of activations and the shift of the prototypes, where training pictures are
# not at hand.
MAX_LEARN = 200
MIN_JUDGE = 5
# Learned parts that judge where no others do.
MAX_MIRRORED = 60
# Where no bad part judges. As many, from hardly visible to plain, keep what chance does to image
# AUROC below what the gate allows.
SYNTHETIC_DEFECTS = 480


@dataclass(frozen=True)
class Roles:
    """Pictures at the model's size, uint8 (H, W, 3) RGB.

    Attributes:
        learn: for the ranges of activations and the memory bank: training pictures if there are
            any, else half of the others.
        judge: good parts that neither training nor quantization has seen; where they are too few,
            mirrored ones that training has seen, for both variants judge the same pictures.
        digests: of the pictures in ``learn`` that training has not seen: they are no evidence for a
            threshold any more.
    """

    learn: tuple[UInt8Image, ...]
    judge: tuple[UInt8Image, ...]
    digests: tuple[str, ...]


def share_out(
    good: Pictures, size_hw: tuple[int, int], learned: Collection[str], *, to_learn: bool = True
) -> Roles:
    """Read pictures of good parts and share them out.

    Args:
        good: unreadable ones are told and left out, copies count once.
        size_hw: the model's input height and width.
        learned: digests of what training has seen.
        to_learn: whether anything is learned from pictures; if not, all that training has not seen
            judge.

    Raises:
        DataError: too few pictures.
    """
    by_digest = {
        digest_of(image): image
        for _, image in read_pictures(good, size_hw, "INT8: reading pictures")
    }
    seen = [image for digest, image in by_digest.items() if to_learn and digest in learned]
    # Digests are as good as random, and the same every time.
    fresh = sorted(digest for digest in by_digest if digest not in learned)
    taken = [] if seen or not to_learn else fresh[: min(len(fresh) // 2, MAX_LEARN)]
    judge = [by_digest[digest] for digest in fresh[len(taken) :]]
    known = sorted(digest for digest in by_digest if digest in learned)[:MAX_MIRRORED]
    if len(judge) < MIN_JUDGE <= len(known):
        log.info(
            f"INT8: {len(known)} learned parts judge it, mirrored, for only {len(judge)} are unseen"
        )
        judge += [np.ascontiguousarray(by_digest[digest][:, ::-1]) for digest in known]
    learn = seen or [by_digest[digest] for digest in taken]
    if len(judge) < MIN_JUDGE or (to_learn and not learn):
        raise DataError(
            f"{named(good)}: INT8 expected at least {MIN_JUDGE} pictures of good parts to judge "
            f"it{', and as many to learn from' if to_learn else ''}, found "
            f"{len(fresh)} unseen and {len(by_digest) - len(fresh)} seen ones; photograph more "
            "good parts"
        )
    return Roles(tuple(learn), tuple(judge), tuple(taken))


def scores_of(
    engine: Engine,
    good: Sequence[UInt8Image],
    bad: Sequence[UInt8Image],
    what: str,
    roi: RegionOfInterest | None = None,
) -> Floats:
    """Raw scores of good parts, bad parts and, where there are none, synthetic defects, (n,)."""
    count = 0 if bad else SYNTHETIC_DEFECTS
    pictures = chain(good, bad, _defects(good, count, roi))
    total = len(good) + len(bad) + count
    return np.array(
        [
            float(np.asarray(engine.run({"image": picture[None]})["pred_score"]).ravel()[0])
            for picture in track(pictures, f"INT8: scoring with {what}", total)
        ]
    )


def _defects(
    good: Sequence[UInt8Image], count: int, roi: RegionOfInterest | None
) -> Iterator[UInt8Image]:
    """Good parts with one defect each, in the region of interest where there is one."""
    if roi is None:
        yield from synthetic_defects(good, count, kinds=(PATCH,))
        return
    pieces = [np.ascontiguousarray(part[roi.window]) for part in good]
    for index, piece in enumerate(synthetic_defects(pieces, count, kinds=(PATCH,))):
        whole = good[index % len(good)].copy()
        whole[roi.window] = piece
        yield whole
