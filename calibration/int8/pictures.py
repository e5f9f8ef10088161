"""Which pictures quantisation may learn from, and which must stay unseen to judge it."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from calibration.scoring import digest_of
from runtime.errors import DataError, ImageError
from runtime.images.dataset import list_images
from runtime.images.preprocess import load_image
from runtime.progress import track
from runtime.types import UInt8Image

log = logging.getLogger("lineside")

# Enough for the ranges of activations and the shift of the prototypes, where training pictures are
# not at hand.
MAX_LEARN = 200
MIN_JUDGE = 5


@dataclass(frozen=True)
class Roles:
    """Pictures at the model's size, uint8 (H, W, 3) RGB.

    Attributes:
        learn: for the ranges of activations and the memory bank: training pictures if there are
            any, else half of the others.
        judge: good parts that neither training nor quantisation has seen.
        digests: of the pictures in ``learn`` that training has not seen: they are no evidence for a
            threshold any more.
    """

    learn: tuple[UInt8Image, ...]
    judge: tuple[UInt8Image, ...]
    digests: tuple[str, ...]


def share_out(
    folder: Path, size_hw: tuple[int, int], learned: Collection[str], *, to_learn: bool = True
) -> Roles:
    """Read a folder of good parts and share it out.

    Args:
        folder: pictures of good parts; unreadable ones are told and left out, copies count once.
        size_hw: the model's input height and width.
        learnt: digests of what training has seen.
        to_learn: whether anything is learnt from pictures; if not, all that training has not seen
            judge.

    Raises:
        DataError: too few pictures.
    """
    by_digest: dict[str, UInt8Image] = {}
    for path in track(list_images(folder), "INT8: reading pictures"):
        try:
            image = load_image(path, size_hw)
        except ImageError as error:
            log.warning(f"skipped: {error}")
            continue
        by_digest.setdefault(digest_of(image), image)
    seen = [image for digest, image in by_digest.items() if to_learn and digest in learned]
    # Digests are as good as random, and the same every time.
    fresh = sorted(digest for digest in by_digest if digest not in learned)
    taken = [] if seen or not to_learn else fresh[: min(len(fresh) // 2, MAX_LEARN)]
    judge = [by_digest[digest] for digest in fresh[len(taken) :]]
    learn = seen or [by_digest[digest] for digest in taken]
    if len(judge) < MIN_JUDGE or (to_learn and not learn):
        raise DataError(
            f"{folder}: INT8 expected at least {MIN_JUDGE} pictures of good parts that training "
            "has not seen"
            f"{', and as many to learn from' if to_learn else ''}, found {len(fresh)} unseen and "
            f"{len(by_digest) - len(fresh)} seen ones; photograph more good parts"
        )
    return Roles(tuple(learn), tuple(judge), tuple(taken))
