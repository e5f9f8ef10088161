"""Scoring a folder of pictures with several variants of a bundle, each picture decoded once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calibration.metrics import Floats
from runtime.dataset import list_images
from runtime.errors import DataError, ImageError
from runtime.inspector import Inspector
from runtime.preprocess import decode_rgb, resize
from runtime.progress import say, track


@dataclass(frozen=True)
class Pictures:
    """Pictures of a folder, each content once.

    Attributes:
        folder: where they are.
        paths: one path for each content, sorted.
        duplicates: paths left out, each with the one that has the same bytes.
    """

    folder: Path
    paths: tuple[Path, ...]
    duplicates: tuple[tuple[Path, Path], ...]


@dataclass(frozen=True)
class VariantScores:
    """What one variant says about the pictures, in their order.

    Attributes:
        scores: raw scores (n,).
        peaks: highest value of each heat map at the model's input size (n,).
    """

    scores: Floats
    peaks: Floats


@dataclass(frozen=True)
class ScoredPictures:
    """Pictures that were read, with the results of every variant.

    Attributes:
        paths: in order.
        by_variant: results by variant key.
        skipped: unreadable pictures, with the reason.
        duplicates: see :class:`Pictures`.
    """

    paths: tuple[Path, ...]
    by_variant: dict[str, VariantScores]
    skipped: tuple[tuple[Path, str], ...]
    duplicates: tuple[tuple[Path, Path], ...]


def find_pictures(folder: Path) -> Pictures:
    """All pictures below a folder; copies (same bytes) are counted once, for a copy is no further evidence.

    Raises:
        DataError: the folder is missing or holds no picture.
    """
    first: dict[bytes, Path] = {}
    duplicates = []
    for path in list_images(folder):
        digest = hashlib.sha256(path.read_bytes()).digest()
        if digest in first:
            duplicates.append((path, first[digest]))
        else:
            first[digest] = path
    return Pictures(folder, tuple(first.values()), tuple(duplicates))


def score_pictures(inspectors: Sequence[Inspector], pictures: Pictures, what: str) -> ScoredPictures:
    """Score every picture with every inspector.

    Args:
        inspectors: open variants of one bundle.
        pictures: what to score; unreadable ones are told on stderr and skipped.
        what: shown beside the progress bar.

    Raises:
        DataError: not one picture can be read.
    """
    found: dict[str, list[tuple[float, float]]] = {one.variant.key: [] for one in inspectors}
    read, skipped = [], []
    for path in track(pictures.paths, what):
        try:
            image = resize(decode_rgb(path), inspectors[0].size_hw)
        except ImageError as error:
            skipped.append((path, str(error)))
            say(f"skipped: {error}")
            continue
        read.append(path)
        for inspector in inspectors:
            prediction = inspector.inspect(image)
            found[inspector.variant.key].append((prediction.pred_score, float(prediction.heat_map().max())))
    if not read:
        raise DataError(
            f"{pictures.folder}: expected readable pictures, found {len(skipped)} unreadable ones; "
            f"the first: {skipped[0][1]}"
        )
    return ScoredPictures(
        tuple(read),
        {key: _columns(pairs) for key, pairs in found.items()},
        tuple(skipped),
        pictures.duplicates,
    )


def _columns(pairs: Sequence[tuple[float, float]]) -> VariantScores:
    table = np.asarray(pairs, dtype=np.float64).reshape(-1, 2)
    return VariantScores(table[:, 0], table[:, 1])
