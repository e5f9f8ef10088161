"""What a model says of good parts, and what proves an engine: shared by training and teaching."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from calibration.learning.copies import Augment, as_unseen
from calibration.learning.photographs import Photographs
from calibration.threshold_rules import peaks_of
from runtime.bundle.manifest import DIGEST_LENGTH, LEFT_OUT_SCORES, TRAIN_DIGESTS
from runtime.engines.base import Engine
from runtime.errors import ImageError
from runtime.images.dataset import Category
from runtime.images.preprocess import load_image
from runtime.progress import track
from runtime.types import Float32Map, Floats, UInt8Image

CERTIFICATE_IMAGES = 24
# Below this, scores may hardly have a range.
FEW_IMAGES = 4
GOLDEN_IMAGES = 5


@dataclass(frozen=True)
class Scored:
    """Scores and maps of images in order.

    Attributes:
        scores: raw scores (n,).
        maps: float32 (h, w) each, before smoothing: that is the runtime's work, done on demand.
        made_up: raw scores of made-up defects on such images, (m, strengths), see
            ``calibration.learning.made_up``; where the images were left out in turn, each by the
            model that has not seen its part. Empty if none was made.
    """

    scores: Floats
    maps: list[Float32Map]
    made_up: Floats = field(default_factory=lambda: np.empty((0, 0)))


def certificate_pictures(
    category: Category,
    unseen: Sequence[Path],
    learned: Sequence[Path],
    size_hw: tuple[int, int],
    augment: Augment = "none",
) -> tuple[list[UInt8Image], list[bool]]:
    """Real pictures: test parts of every kind in turn, then good ones, unseen ones first.

    Learned ones are mirrored, and turned where mirrored copies were learned too: some of their
    patches are prototypes, at a distance of zero but for rounding, and how that comes out says
    nothing.

    Where they are few, changed ones join them: differences are told as shares of the scores' range,
    and a picture or two have none; that engines agree on any picture is what counts.

    Returns:
        The pictures at the model's size, and which of them show a defect; nothing of the latter
        where changed ones joined.
    """
    by_kind: dict[str, list[Path]] = {}
    for part in category.test:
        by_kind.setdefault(part.defect_type, []).append(part.path)
    turns = max((len(paths) for paths in by_kind.values()), default=0)
    test = [paths[turn] for turn in range(turns) for paths in by_kind.values() if turn < len(paths)]
    paths = [*test[:CERTIFICATE_IMAGES], *unseen, *learned][:CERTIFICATE_IMAGES]
    bad = {part.path for part in category.test if part.is_anomalous}
    known = set(learned)
    loaded = [
        (as_unseen(image, augment) if path in known else image, path in bad)
        for path in paths
        for image in load_images([path], size_hw)
    ]
    images = [image for image, _ in loaded]
    if len(images) < FEW_IMAGES:
        turned = [np.ascontiguousarray(image[::-1, ::-1]) for image in images]
        return [*images, *turned, *(255 - image for image in images)], []
    return images, [anomalous for _, anomalous in loaded]


def load_images(paths: Sequence[Path], size_hw: tuple[int, int]) -> list[UInt8Image]:
    """Pictures at the model's size, without unreadable ones, which were reported before."""
    images = []
    for path in paths:
        try:
            images.append(load_image(path, size_hw))
        except ImageError:
            continue
    return images


def score_engine(engine: Engine, images: Sequence[UInt8Image], what: str) -> Scored:
    """An engine's results."""
    outputs = [engine.run({"image": image[None]}) for image in track(images, what)]
    scores = np.array([float(np.asarray(o["pred_score"]).reshape(-1)[0]) for o in outputs])
    return Scored(scores, [np.asarray(o["anomaly_map"], dtype=np.float32)[0, 0] for o in outputs])


def provenance_of(
    photographs: Photographs,
    left_out: Scored | None,
    size_hw: tuple[int, int],
    blur_sigma: float,
    *,
    packages: Sequence[str],
    seed: int,
    seconds: float,
) -> dict[str, Any]:
    """What a bundle keeps of how it came to be: for people, and for the calibrations to come.

    The digests of the learned parts are cut to 64 bits, which tell pictures apart: calibration
    leaves out what was learned. With ``left_out`` come a score and a peak for each, evidence for a
    threshold.

    Args:
        photographs: what was learned.
        left_out: what each part scores with a model that has not seen it; None where that is not
            known.
        size_hw: model input size.
        blur_sigma: of the heat map in pixels.
        packages: distributions whose versions count.
        seed: of everything random.
        seconds: that learning took.
    """
    learned = [digest[:DIGEST_LENGTH] for digest in photographs.train_digests]
    found: dict[str, Any] = {
        "packages": {package: version(package) for package in packages},
        "python": platform.python_version(),
        "machine": platform.machine(),
        "data_fingerprint": photographs.fingerprint,
        "train_images": len(photographs.train),
        "held_out_images": len(photographs.held_out),
        TRAIN_DIGESTS: learned,
        "skipped_images": [path.name for path, _ in photographs.skipped],
        "seed": seed,
        "train_seconds": round(seconds, 1),
    }
    if left_out is not None:
        peaks = peaks_of(left_out.maps, size_hw, blur_sigma, photographs.roi)
        rows = zip(learned, left_out.scores, peaks, strict=True)
        found[LEFT_OUT_SCORES] = {
            digest: [round(float(one), 6), round(float(peak), 6)] for digest, one, peak in rows
        }
    return found
