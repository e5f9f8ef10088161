"""Scoring a folder of pictures with several variants of a bundle, each picture decoded once and counted once."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from runtime.bundle.folder import Bundle
from runtime.bundle.manifest import DIGEST_LENGTH, TRAIN_DIGESTS
from runtime.errors import DataError, ImageError
from runtime.images.dataset import list_images
from runtime.images.preprocess import decode_rgb, resize
from runtime.inspector import Inspector
from runtime.progress import track
from runtime.types import Floats, UInt8Image

log = logging.getLogger("lineside")


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
        digests: of each (see :func:`digest_of`).
        by_variant: results by variant key.
        skipped: unreadable pictures, with the reason.
        duplicates: copies that were left out, each with its original: a copy is no further
            evidence.
        learnt: pictures that were left out because training has seen them.
    """

    paths: tuple[Path, ...]
    digests: tuple[str, ...]
    by_variant: dict[str, VariantScores]
    skipped: tuple[tuple[Path, str], ...]
    duplicates: tuple[tuple[Path, Path], ...]
    learned: tuple[Path, ...]


def score_pictures(
    inspectors: Sequence[Inspector], folder: Path, what: str, learned: Collection[str] = ()
) -> ScoredPictures:
    """Score every picture below a folder with every inspector.

    Args:
        inspectors: open variants of one bundle.
        folder: unreadable pictures in it are told on stderr and skipped, copies and learnt ones are
            left out.
        what: shown beside the progress bar.
        learnt: digests (see :func:`digest_of`) of the pictures that training has seen.

    Raises:
        DataError: the folder is missing, or not one picture in it can be used.
    """
    run = _Run(inspectors, frozenset(learned))
    for path in track(list_images(folder), what):
        run.add(path)
    if not run.paths:
        raise DataError(_nothing_left(folder, run))
    return ScoredPictures(
        tuple(run.paths),
        tuple(run.first),
        {key: _columns(pairs) for key, pairs in run.found.items()},
        tuple(run.skipped),
        tuple(run.duplicates),
        tuple(run.left_out),
    )


def learned_digests(bundle: Bundle) -> frozenset[str]:
    """Digests of the pictures that training has seen, as the bundle records them; empty if it does not."""
    recorded = bundle.manifest.provenance.get(TRAIN_DIGESTS, ())
    return frozenset(map(str, recorded)) if isinstance(recorded, list) else frozenset()


def digest_of(image_rgb: UInt8Image) -> str:
    """Digest of a picture at the model's size: the same whatever the file's name, format or metadata.

    Args:
        image_rgb: uint8 (H, W, 3), already at the model's size.
    """
    return hashlib.sha256(image_rgb.tobytes()).hexdigest()[:DIGEST_LENGTH]


@dataclass
class _Run:
    """What gathers while the pictures are scored one by one."""

    inspectors: Sequence[Inspector]
    learned: frozenset[str]
    paths: list[Path] = field(default_factory=list)
    skipped: list[tuple[Path, str]] = field(default_factory=list)
    duplicates: list[tuple[Path, Path]] = field(default_factory=list)
    left_out: list[Path] = field(default_factory=list)
    first: dict[str, Path] = field(default_factory=dict)
    found: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def add(self, path: Path) -> None:
        try:
            image = resize(decode_rgb(path), self.inspectors[0].size_hw)
        except ImageError as error:
            self.skipped.append((path, str(error)))
            log.warning(f"skipped: {error}")
            return
        digest = digest_of(image)
        if digest in self.learned:
            self.left_out.append(path)
        elif digest in self.first:
            self.duplicates.append((path, self.first[digest]))
        else:
            self.first[digest] = path
            self.paths.append(path)
            self._score(image)

    def _score(self, image: UInt8Image) -> None:
        for inspector in self.inspectors:
            prediction = inspector.inspect(image)
            pair = (prediction.pred_score, float(prediction.heat_map().max()))
            self.found.setdefault(inspector.variant.key, []).append(pair)


def _nothing_left(folder: Path, run: _Run) -> str:
    if run.left_out:
        return (
            f"{folder}: expected pictures that training has not seen, found {len(run.left_out)} "
            "that it has; "
            "a threshold set on them would reject most good parts. Use other pictures of good "
            "parts"
        )
    return (
        f"{folder}: expected readable pictures, found {len(run.skipped)} unreadable ones; "
        f"the first: {run.skipped[0][1]}"
    )


def _columns(pairs: Sequence[tuple[float, float]]) -> VariantScores:
    table = np.asarray(pairs, dtype=np.float64).reshape(-1, 2)
    return VariantScores(table[:, 0], table[:, 1])
