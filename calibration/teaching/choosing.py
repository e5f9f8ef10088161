"""Which recorded parts a bundle learns from, and which it is tried on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calibration.scoring import learned_digests
from calibration.teaching.lesson import Pictures, most_parts
from calibration.teaching.new_bank import TeachableGraph
from runtime.bundle.folder import Bundle
from runtime.errors import ImageError, TrainingError
from runtime.images.dataset import list_images
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
        good: that people have called good, that the bundle has not learned, and that it learns.
        others: those that it is tried on: called defective, without a word, or called good where
            pictures are learned instead.
        paths: of the pictures, by id of the part.
        digests: of the pictures, by id of the part.
        unseen: parts that would count, and whose picture is gone or cannot be read.
        known: parts that are to be learned, and that the bundle has learned already.
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
    parts: Sequence[RecordedPart],
    base: Bundle,
    graph: TeachableGraph,
    store: str,
    pictures: Sequence[RecordedPart] = (),
) -> Chosen:
    """Whose pictures are there: of two parts that look the same, one that was called defective.

    Args:
        parts: recorded, of each bundle the newest first.
        base: the bundle that learns.
        graph: of it.
        store: where the parts are recorded, or the pictures lie, for messages.
        pictures: of :func:`shown_parts`; they are learned instead of the recorded ones.

    Raises:
        TrainingError: no part that a person has called good can be learned.
    """
    size_hw = base.manifest.input.size_hw
    said_bad = [one for one in parts if one.is_said_bad]
    said = [*said_bad, *pictures, *(one for one in parts if one.is_said_good)]
    unsaid = [one for one in parts if not one.word][:MOST_TRIED]
    wanted = {one.part_id for one in pictures or said if one.is_said_good}
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
            unseen += part.part_id in wanted or part.is_said_bad
        elif digest in learned and not part.is_said_bad:
            known += part.part_id in wanted
        elif digest not in found:
            found[digest] = part
            paths[part.part_id] = path
    good = [one for one in found.values() if one.part_id in wanted]
    most = most_parts(graph.patches(None)(np.zeros((*size_hw, 3), np.uint8))[0])
    if len(good) > most:
        log.warning(
            f"warning: {len(good)} parts were called good, more than the {most} that are learned "
            f"at once; {'the first' if pictures else 'the newest'} {most} are learned"
        )
        good = good[:most]
    if not good and pictures:
        raise TrainingError(
            f"{store}: expected pictures of good parts that the bundle has not learned, found none "
            f"among {len(pictures)} ({unseen} cannot be read, {known} are learned already); "
            "photograph other good parts"
        )
    if not good:
        raise TrainingError(
            f"{store}: expected parts that an operator has called good ('wrong' on a false alarm, "
            f"'right' on a good part) and whose pictures are left, found none ({unseen} words on "
            f"parts without a picture, {known} on parts that are learned already); give words at "
            '/line or /history, and keep frames of cameras with: keep = "all"'
        )
    others = [one for one in found.values() if one.part_id not in wanted]
    digests = {part.part_id: digest for digest, part in found.items()}
    return Chosen(good, others, paths, digests, unseen, known)


def shown_parts(good: Path) -> list[RecordedPart]:
    """Good parts that a folder shows, as if an operator had called each of them good.

    Raises:
        DataError: the folder is missing or holds no picture.
    """

    def found(path: Path) -> RecordedPart:
        return RecordedPart(str(path), "", path.name, "good", 0.0, "right", "good", lambda: path)

    return [found(path) for path in list_images(good)]
