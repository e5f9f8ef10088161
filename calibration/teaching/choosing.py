"""Which recorded parts a bundle learns from, and which it is tried on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calibration.scoring import learned_digests
from calibration.teaching.graph import TeachableGraph
from calibration.teaching.lesson import Pictures, most_parts
from runtime.bundle.folder import Bundle
from runtime.errors import ImageError, TrainingError
from runtime.images.preprocess import digest_of, load_image
from runtime.progress import track
from runtime.sources.recorded import RecordedPart

log = logging.getLogger("lineside")

# Recorded parts without a word that the new bundle is tried on, the newest ones.
MOST_TRIED = 500


@dataclass(frozen=True)
class Chosen:
    """Recorded parts that have a picture, which none of the others shows.

    Attributes:
        good: that operators have called good, and that the bundle has not learned.
        others: that they have called defective, and those without a word.
        paths: of the pictures, by id of the part.
        digests: of the pictures, by id of the part.
        unseen: parts with a word whose picture is gone.
        known: parts called good that the bundle has learned.
    """

    good: list[RecordedPart]
    others: list[RecordedPart]
    paths: dict[str, Path]
    digests: dict[str, str]
    unseen: int
    known: int

    def pictures(self, parts: Sequence[RecordedPart], size_hw: tuple[int, int]) -> Pictures:
        """Pictures of some of them, at the model's size."""
        return Pictures([self.paths[one.part_id] for one in parts], size_hw)


def choose(
    parts: Sequence[RecordedPart], base: Bundle, graph: TeachableGraph, store: str
) -> Chosen:
    """Whose pictures are there: of two parts that look the same, one that was called defective.

    Raises:
        TrainingError: no part that an operator has called good can be learned.
    """
    size_hw = base.manifest.input.size_hw
    said = [one for one in parts if one.is_said_bad] + [one for one in parts if one.is_said_good]
    unsaid = [one for one in parts if not one.word][:MOST_TRIED]
    learned = learned_digests(base)
    found: dict[str, RecordedPart] = {}
    paths: dict[str, Path] = {}
    unseen = known = 0
    for part in track([*said, *unsaid], "pictures of recorded parts"):
        path = part.find_picture()
        try:
            digest = "" if path is None else digest_of(load_image(path, size_hw))
        except ImageError:
            digest = ""
        if path is None or not digest:
            unseen += bool(part.word)
        elif digest in learned and not part.is_said_bad:
            known += part.is_said_good
        elif digest not in found:
            found[digest] = part
            paths[part.part_id] = path
    good = [one for one in found.values() if one.is_said_good]
    most = most_parts(graph.patches(None)(np.zeros((*size_hw, 3), np.uint8))[0])
    if len(good) > most:
        log.warning(
            f"warning: operators have called {len(good)} parts good, more than the {most} that are "
            f"learned at once; the newest {most} are learned"
        )
        good = good[:most]
    if not good:
        raise TrainingError(
            f"{store}: expected parts that an operator has called good ('wrong' on a false alarm, "
            f"'right' on a good part) and whose pictures are left, found none ({unseen} words on "
            f"parts without a picture, {known} on parts that are learned already); give words at "
            '/line or /history, and keep frames of cameras with: keep = "all"'
        )
    others = [one for one in found.values() if not one.is_said_good]
    digests = {part.part_id: digest for digest, part in found.items()}
    return Chosen(good, others, paths, digests, unseen, known)
