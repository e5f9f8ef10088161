"""Reading a data set for training: which pictures are usable, and which are left out when."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from runtime.errors import DataError, ImageError
from runtime.images.dataset import Category
from runtime.images.preprocess import decode_rgb, resize
from runtime.images.roi import RegionOfInterest
from runtime.progress import track

log = logging.getLogger("lineside")

COMFORTABLE_GOOD = 20
# Of 255. What 12 bits of a camera come to in 16-bit files, and 10 bits all the more.
ALL_BUT_BLACK = 16
HELD_OUT_SHARE = 0.15
# The most useful of a promise, 5 % with 95 % confidence, needs 59; every part more is one less to
# learn from.
MAX_HELD_OUT = 60


@dataclass(frozen=True)
class Photographs:
    """Usable good parts of one category, split.

    Attributes:
        train: pictures to learn from.
        held_out: good pictures that training does not see: they set the threshold. None where each
            part is left out in turn instead.
        skipped: unreadable files with the reason.
        fingerprint: sha256 over the training and held-out pictures' content.
        train_digests: sha256 in hex of each training picture at the model's size.
        held_out_digests: the same of each held-out picture.
        sizes_hw: heights and widths that the usable pictures have.
        roi: inside which alone they are learned and judged; None for all of them.
    """

    train: tuple[Path, ...]
    held_out: tuple[Path, ...]
    skipped: tuple[tuple[Path, str], ...]
    fingerprint: str
    train_digests: tuple[str, ...] = ()
    held_out_digests: tuple[str, ...] = ()
    sizes_hw: frozenset[tuple[int, int]] = frozenset()
    roi: RegionOfInterest | None = None


def read_photographs(
    category: Category, size_hw: tuple[int, int], seed: int, *, hold_out: bool = True
) -> Photographs:
    """Check every good picture and split off some; of exact repeats only the first counts.

    Args:
        category: where the pictures are.
        size_hw: model input size; each picture is decoded once to see that it can be.
        seed: of the split.
        hold_out: whether to split off any; a single picture is both in any case.

    Raises:
        DataError: too few usable pictures.
    """
    usable, skipped, digests, sizes_hw = _usable(category.train_good, size_hw)
    if not usable:
        raise DataError(
            f"{category.name}: expected readable pictures of good parts (some {COMFORTABLE_GOOD} "
            "for a useful model), found none; "
            "photograph more good parts"
        )
    if len(usable) < COMFORTABLE_GOOD:
        log.info(_warning(len(usable)))
    train, held_out = split(usable, seed) if hold_out or len(usable) == 1 else (tuple(usable), ())
    fingerprint = hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()
    by_path = dict(zip(usable, digests, strict=True))
    learned, unseen = (tuple(by_path[path] for path in part) for part in (train, held_out))
    return Photographs(train, held_out, tuple(skipped), fingerprint, learned, unseen, sizes_hw)


def _warning(count: int) -> str:
    """What to expect of a model of few parts."""
    if count == 1:
        return (
            "warning: only 1 good part, so the threshold is a guess from the very picture that "
            "the model learns: expect false "
            f"alarms and missed defects until more are photographed. {COMFORTABLE_GOOD} or more "
            "make a useful model."
        )
    return (
        f"warning: only {count} good parts. The model trains, but it has seen little of what good "
        "looks like: "
        "expect false alarms on normal variation and a threshold that is a guess. "
        f"{COMFORTABLE_GOOD} or more help."
    )


def split(paths: Sequence[Path], seed: int) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Random split: 15 % held out, at least 1, at most 60; a single picture is both."""
    if len(paths) == 1:
        return tuple(paths), tuple(paths)
    count = min(max(1, round(len(paths) * HELD_OUT_SHARE)), MAX_HELD_OUT)
    chosen = {int(i) for i in np.random.default_rng(seed).permutation(len(paths))[:count]}
    train = tuple(path for i, path in enumerate(paths) if i not in chosen)
    return train, tuple(path for i, path in enumerate(paths) if i in chosen)


def _usable(
    paths: Sequence[Path], size_hw: tuple[int, int]
) -> tuple[list[Path], list[tuple[Path, str]], list[str], frozenset[tuple[int, int]]]:
    usable: dict[str, Path] = {}
    sizes_hw: set[tuple[int, int]] = set()
    skipped: list[tuple[Path, str]] = []
    repeated = brightest = 0
    for path in track(paths, "reading pictures"):
        try:
            own = decode_rgb(path)
        except ImageError as error:
            skipped.append((path, str(error)))
            log.warning(f"skipped: {error}")
            continue
        sizes_hw.add((own.shape[0], own.shape[1]))
        image = resize(own, size_hw)
        brightest = max(brightest, int(image.max()))
        digest = hashlib.sha256(image.tobytes()).hexdigest()
        # A copy may not be held out from a training that has seen its original: the threshold would
        # be too low.
        if digest in usable:
            repeated += 1
        else:
            usable[digest] = path
    if usable and brightest <= ALL_BUT_BLACK:
        # No more than a warning: in a dark field good parts are black.
        log.warning(
            f"warning: no good picture is brighter than {brightest} of 255, and the model will "
            "hardly tell grey levels apart; if the "
            "camera writes 10 or 12 bits into 16-bit files, have it fill them from the top, or "
            "save 8 bits"
        )
    if repeated:
        log.warning(
            f"warning: {repeated} of {repeated + len(usable)} good pictures are exact repeats of "
            "another one, which counts once"
        )
    return list(usable.values()), skipped, list(usable), frozenset(sizes_hw)
