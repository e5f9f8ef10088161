"""Scoring pictures with several variants of a bundle: each decoded once and counted once."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from runtime.bundle.folder import Bundle
from runtime.bundle.manifest import LEFT_OUT_SCORES, TRAIN_DIGESTS
from runtime.decode import Number, convert
from runtime.errors import BundleError, DataError, ImageError
from runtime.images.dataset import list_images
from runtime.images.preprocess import digest_of as digest_of  # noqa: PLC0414  used from here
from runtime.images.preprocess import load_image
from runtime.inspector import Inspector
from runtime.progress import track
from runtime.types import Floats, Labels, UInt8Image

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
        learned: pictures that are not among them because training has seen them.
        left_out: which of them training has seen too, bool (n,): their scores are those of a model
            that had not seen them.
    """

    paths: tuple[Path, ...]
    digests: tuple[str, ...]
    scores: dict[str, Floats]
    peaks: dict[str, Floats]
    skipped: tuple[tuple[Path, str], ...]
    duplicates: tuple[tuple[Path, Path], ...]
    learned: tuple[Path, ...]
    left_out: Labels

    @property
    def reference(self) -> tuple[str, Floats]:
        """Key and raw scores of the reference variant."""
        return next(iter(self.scores.items()))


def score_pictures(
    inspectors: Sequence[Inspector],
    pictures: Pictures,
    what: str,
    learned: Collection[str] = (),
    left_out: Mapping[str, tuple[float, float]] | None = None,
) -> Scored:
    """Score every picture with every inspector.

    A learned picture with a left-out score counts with it. That is fp32's; another variant's lies
    among its own scores where fp32's lies among fp32's, both of the same pictures: the unseen ones
    and the learned ones mirrored, whose patches lie on no prototype.

    Args:
        inspectors: open variants of one bundle.
        pictures: unreadable ones are told and skipped, copies and learned ones are left out.
        what: shown beside the progress bar.
        learned: digests (see :func:`digest_of`) of the pictures that training has seen.
        left_out: score and peak by digest, see :func:`left_out_scores`; without an fp32 variant
            among the inspectors these pictures are left out as other learned ones.

    Raises:
        DataError: the folder is missing, or not one picture in it can be used.
    """
    first: dict[str, Path] = {}
    skipped: list[tuple[Path, str]] = []
    duplicates: list[tuple[Path, Path]] = []
    seen: list[Path] = []
    rows: list[list[tuple[float, float]]] = []
    known: list[tuple[float, float] | None] = []
    exact = [one.variant.precision == "fp32" for one in inspectors]
    recorded = left_out if left_out and any(exact) else {}
    for path, image in read_pictures(pictures, inspectors[0].size_hw, what, skipped):
        digest = digest_of(image)
        if digest in learned and digest not in recorded:
            seen.append(path)
        elif digest in first:
            duplicates.append((path, first[digest]))
        else:
            first[digest] = path
            known.append(recorded.get(digest))
            if known[-1] is None:
                rows.append([_score_and_peak(one, image) for one in inspectors])
            elif all(exact):
                rows.append([known[-1]] * len(inspectors))
            else:
                mirrored = np.ascontiguousarray(image[:, ::-1])
                rows.append([_score_and_peak(one, mirrored) for one in inspectors])
    if not first:
        raise DataError(f"{named(pictures)}: {_nothing_left(skipped, seen)}")
    table = np.array(rows, dtype=np.float64)
    is_left_out = np.array([one is not None for one in known], dtype=np.bool_)
    if is_left_out.any():
        table = _with_left_out(table, exact, is_left_out, [one for one in known if one])
    keys = [inspector.variant.key for inspector in inspectors]
    return Scored(
        tuple(first.values()),
        tuple(first),
        {key: table[:, index, 0] for index, key in enumerate(keys)},
        {key: table[:, index, 1] for index, key in enumerate(keys)},
        tuple(skipped),
        tuple(duplicates),
        tuple(seen),
        is_left_out,
    )


def _score_and_peak(inspector: Inspector, image: UInt8Image) -> tuple[float, float]:
    found = inspector.inspect(image)
    return found.pred_score, float(found.heat_map().max())


def _with_left_out(
    table: Floats, exact: Sequence[bool], which: Labels, known: Sequence[tuple[float, float]]
) -> Floats:
    """The scores and peaks (n, variants, 2) with the left-out ones (m, 2) where they belong."""
    found, reference = table.copy(), list(exact).index(True)
    left_out = np.array(known)
    for variant, is_exact in enumerate(exact):
        for kind in range(2):
            values = left_out[:, kind]
            if not is_exact:
                values = of_other(values, table[:, reference, kind], table[:, variant, kind])
            found[which, variant, kind] = values
    return found


def of_other(values: Floats, theirs: Floats, ours: Floats) -> Floats:
    """Values among ``theirs`` to the same quantiles among ``ours``; beyond, as far beyond.

    Args:
        values: scores of one variant, any shape.
        theirs: its scores of some pictures (n,).
        ours: another variant's of the same (n,).
    """
    ours, theirs = np.sort(ours), np.sort(theirs)
    beyond = values - np.clip(values, theirs[0], theirs[-1])
    return np.asarray(np.interp(values, theirs, ours) + beyond)


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


def left_out_scores(bundle: Bundle) -> dict[str, tuple[float, float]]:
    """By digest of a picture that training has seen, fp32's score and peak from before.

    Raises:
        BundleError: the bundle records something else.
    """
    return convert(
        bundle.manifest.provenance.get(LEFT_OUT_SCORES, {}),
        dict[str, tuple[Number, Number]],
        where=f"{bundle.source}: {LEFT_OUT_SCORES}",
        error=BundleError,
        advice="make the bundle again with: lineside train",
    )


def _nothing_left(skipped: Sequence[tuple[Path, str]], left_out: Sequence[Path]) -> str:
    if left_out:
        return (
            f"expected pictures that training has not seen, found {len(left_out)} that it has; a "
            "threshold set on them would reject most good parts. Use other pictures of good parts"
        )
    first = f"; the first: {skipped[0][1]}" if skipped else ""
    return f"expected readable pictures, found {len(skipped)} unreadable ones{first}"
