"""Scoring pictures with several variants of a bundle: each decoded once and counted once."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from runtime.bundle.folder import Bundle
from runtime.bundle.manifest import DIGEST_LENGTH, TRAIN_DIGESTS
from runtime.errors import DataError, ImageError
from runtime.images.dataset import list_images
from runtime.images.preprocess import load_image
from runtime.inspector import Inspector
from runtime.progress import track
from runtime.types import Floats, UInt8Image

log = logging.getLogger("lineside")

# A folder of pictures, or the pictures.
Pictures = Path | Sequence[Path]


@dataclass(frozen=True)
class Scored:
    """Pictures that were read, with what every variant says about them, in their order.

    Attributes:
        paths: in order.
        digests: of each (see :func:`digest_of`).
        scores: raw scores (n,) by variant key; the reference variant comes first.
        peaks: highest values of the heat maps at the model's input size (n,) by variant key.
        skipped: unreadable pictures, with the reason.
        duplicates: copies that were left out, each with its original: a copy is no further
            evidence.
        learned: pictures that were left out because training has seen them.
    """

    paths: tuple[Path, ...]
    digests: tuple[str, ...]
    scores: dict[str, Floats]
    peaks: dict[str, Floats]
    skipped: tuple[tuple[Path, str], ...]
    duplicates: tuple[tuple[Path, Path], ...]
    learned: tuple[Path, ...]

    @property
    def reference(self) -> tuple[str, Floats]:
        """Key and raw scores of the reference variant."""
        return next(iter(self.scores.items()))


def score_pictures(
    inspectors: Sequence[Inspector], pictures: Pictures, what: str, learned: Collection[str] = ()
) -> Scored:
    """Score every picture with every inspector.

    Args:
        inspectors: open variants of one bundle.
        pictures: unreadable ones are told and skipped, copies and learned ones are left out.
        what: shown beside the progress bar.
        learned: digests (see :func:`digest_of`) of the pictures that training has seen.

    Raises:
        DataError: the folder is missing, or not one picture in it can be used.
    """
    first: dict[str, Path] = {}
    skipped: list[tuple[Path, str]] = []
    duplicates: list[tuple[Path, Path]] = []
    left_out: list[Path] = []
    rows: list[list[tuple[float, float]]] = []
    for path, image in read_pictures(pictures, inspectors[0].size_hw, what, skipped):
        digest = digest_of(image)
        if digest in learned:
            left_out.append(path)
        elif digest in first:
            duplicates.append((path, first[digest]))
        else:
            first[digest] = path
            found = [inspector.inspect(image) for inspector in inspectors]
            rows.append([(one.pred_score, float(one.heat_map().max())) for one in found])
    if not first:
        raise DataError(f"{named(pictures)}: {_nothing_left(skipped, left_out)}")
    table = np.array(rows, dtype=np.float64)
    keys = [inspector.variant.key for inspector in inspectors]
    return Scored(
        tuple(first.values()),
        tuple(first),
        {key: table[:, index, 0] for index, key in enumerate(keys)},
        {key: table[:, index, 1] for index, key in enumerate(keys)},
        tuple(skipped),
        tuple(duplicates),
        tuple(left_out),
    )


def read_pictures(
    pictures: Pictures,
    size_hw: tuple[int, int],
    what: str,
    skipped: list[tuple[Path, str]] | None = None,
) -> Iterator[tuple[Path, UInt8Image]]:
    """Pictures at the model's size, uint8 (H, W, 3); unreadable ones are told.

    Args:
        pictures: a folder or paths.
        size_hw: the model's input height and width.
        what: shown beside the progress bar.
        skipped: unreadable ones are added here, with the reason.

    Raises:
        DataError: the folder is missing or holds no picture.
    """
    paths = list_images(pictures) if isinstance(pictures, Path) else pictures
    for path in track(paths, what):
        try:
            image = load_image(path, size_hw)
        except ImageError as error:
            log.warning(f"skipped: {error}")
            if skipped is not None:
                skipped.append((path, str(error)))
            continue
        yield path, image


def named(pictures: Pictures) -> str:
    """Where pictures come from, for messages."""
    return str(pictures) if isinstance(pictures, Path) else f"{len(pictures)} pictures"


def learned_digests(bundle: Bundle) -> frozenset[str]:
    """Digests of the pictures that training has seen, as the bundle records them."""
    recorded = bundle.manifest.provenance.get(TRAIN_DIGESTS, ())
    return frozenset(map(str, recorded)) if isinstance(recorded, list) else frozenset()


def digest_of(image_rgb: UInt8Image) -> str:
    """Digest of a picture, the same whatever the file's name, format or metadata.

    Args:
        image_rgb: uint8 (H, W, 3), already at the model's size.
    """
    return hashlib.sha256(image_rgb.tobytes()).hexdigest()[:DIGEST_LENGTH]


def _nothing_left(skipped: Sequence[tuple[Path, str]], left_out: Sequence[Path]) -> str:
    if left_out:
        return (
            f"expected pictures that training has not seen, found {len(left_out)} that it has; a "
            "threshold set on them would reject most good parts. Use other pictures of good parts"
        )
    first = f"; the first: {skipped[0][1]}" if skipped else ""
    return f"expected readable pictures, found {len(skipped)} unreadable ones{first}"
