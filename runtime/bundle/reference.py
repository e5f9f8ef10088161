"""Reading golden/: what a variant said about a few pictures when the bundle was made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from runtime.bundle.manifest import Variant
from runtime.errors import BundleError, ImageError, reading
from runtime.images.preprocess import decode_rgb
from runtime.types import Float32Map, Floats, UInt8Image

GOLDEN_FOLDER = "golden"
REFERENCE_FILE = "reference.npz"
# Beside it, what a variant said itself that was let in by a gate, not by its nearness to anomalib's
# model.
OWN_FILE = "{engine}-{precision}.npz"
# Largest difference of a raw score, relative to the range of the reference scores, by precision.
# INT8 has passed a gate of its own (verdicts, ranks, AUROC) and is held to what it said then; it
# rounds, and processors differ in which way.
MAX_RELATIVE_SCORE_DIFFERENCE = {"fp32": 1e-3, "int8": 1e-1}
DEFAULT_BOUND = 5e-2


@dataclass(frozen=True)
class Compared:
    """Scores and maps of one image set, from the reference or from an engine.

    Attributes:
        scores: raw scores, float (n,).
        maps: one float32 array (h, w) an image.
        threshold: the raw threshold that belongs to these scores.
    """

    scores: Floats
    maps: Sequence[Float32Map]
    threshold: float


@dataclass(frozen=True)
class Reference:
    """What a variant is expected to say about the golden pictures.

    Attributes:
        said: scores, maps and threshold.
        score_range: range of scores that differences relate to.
    """

    said: Compared
    score_range: float


def bound_of(precision: str) -> float:
    """Largest relative difference that a precision is allowed."""
    return MAX_RELATIVE_SCORE_DIFFERENCE.get(precision, DEFAULT_BOUND)


def reference_file(root: Path, variant: Variant) -> Path:
    """What a variant is held to: its own file where it has one, else anomalib's results."""
    own = root / GOLDEN_FOLDER / OWN_FILE.format(engine=variant.engine, precision=variant.precision)
    return own if own.is_file() else root / GOLDEN_FOLDER / REFERENCE_FILE


def read_reference(path: Path) -> Reference:
    """Read a file of golden/.

    Raises:
        BundleError: missing or damaged.
    """
    with (
        reading(path, "golden images with a reference", BundleError, "copy the bundle again"),
        np.load(path, allow_pickle=False) as stored,
    ):
        scores = stored["scores"].astype(np.float64).reshape(-1)
        maps = stored["maps"].astype(np.float32)
        threshold, score_range = float(stored["threshold"]), float(stored["score_range"])
    if maps.ndim != 3 or not 0 < len(scores) == len(maps):
        raise BundleError(
            f"{path}: expected a map for each golden image, found {len(scores)} scores and maps of "
            f"shape {maps.shape}; copy the bundle again"
        )
    return Reference(Compared(scores, list(maps), threshold), score_range)


def golden_picture(root: Path, index: int) -> UInt8Image:
    """A golden picture, uint8 (H, W, 3) RGB at the model's size.

    Raises:
        BundleError: missing or unreadable.
    """
    try:
        return decode_rgb(root / GOLDEN_FOLDER / f"{index}.png")
    except ImageError as error:
        raise BundleError(
            f"{root / GOLDEN_FOLDER}: expected golden images with a reference, found {error}; copy "
            "the bundle again"
        ) from error
