"""Evaluating an exported bundle on labelled test parts, through the same Inspector as on the line."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection
from pathlib import Path

import numpy as np
import numpy.typing as npt

from calibration.evaluation import Evaluation
from calibration.pixel_metrics import PixelScores
from calibration.scoring import digest_of, learned_digests
from runtime.errors import DataError, ImageError
from runtime.images.dataset import Category, Part, list_categories, load_category, load_mask
from runtime.inspector import Inspector
from runtime.prediction import Prediction
from runtime.progress import track

log = logging.getLogger("lineside")


def evaluate(inspector: Inspector, category: Category) -> Evaluation:
    """Inspect all test parts of a category.

    Args:
        inspector: an open bundle on an engine.
        category: with labelled test parts.

    Raises:
        DataError: there are no labelled test parts, or none can be read.
    """
    if not category.test:
        raise DataError(
            f"{category.name}: expected labelled test pictures in test/good and test/<defect>, "
            "found none; "
            "arrange them like that, or use 'lineside inspect' on pictures without labels"
        )
    run = _Run(
        learned=learned_digests(inspector.bundle),
        with_masks=any(part.mask_path for part in category.test),
    )
    for part in track(category.test, f"evaluating {inspector.bundle.manifest.name}"):
        run.add(inspector, part)
    if not run.parts:
        raise DataError(
            f"{category.name}: expected readable test pictures, found {len(run.skipped)} "
            "unreadable ones; "
            f"the first: {run.skipped[0][1]}"
        )
    if run.n_learned:
        log.warning(
            f"warning: {run.n_learned} of {len(run.parts)} test pictures are among those that "
            "training or calibration has learnt, "
            "so the figures are too good; take them out"
        )
    has_masks = run.pixels is not None and run.n_masks > 0
    return Evaluation(
        manifest=inspector.bundle.manifest,
        category=category.name,
        engine=inspector.variant.engine,
        precision=inspector.variant.precision,
        device=inspector.device,
        threshold=inspector.threshold,
        parts=tuple(run.parts),
        labels=np.array([part.is_anomalous for part in run.parts], dtype=np.bool_),
        scores=np.array(run.scores, dtype=np.float64),
        skipped=tuple(run.skipped),
        reasons=tuple(run.reasons),
        pixel_auroc=run.pixels.auroc() if run.pixels is not None and has_masks else math.nan,
        aupro=run.pixels.aupro() if run.pixels is not None and has_masks else math.nan,
        n_masks=run.n_masks,
        p50_latency_ms=float(np.median(run.latencies_ms)),
        embeddings=np.stack(run.embeddings),
        n_learned=run.n_learned,
    )


class _Run:
    """What gathers while the parts are inspected one by one; no map outlives its part."""

    def __init__(self, *, learned: Collection[str], with_masks: bool) -> None:
        self.learned = learned
        self.n_learned = 0
        self.parts: list[Part] = []
        self.scores: list[float] = []
        self.latencies_ms: list[float] = []
        self.embeddings: list[npt.NDArray[np.float32]] = []
        self.skipped: list[tuple[Path, str]] = []
        self.reasons: list[str] = []
        self.pixels = PixelScores() if with_masks else None
        self.n_masks = 0

    def add(self, inspector: Inspector, part: Part) -> None:
        try:
            prediction = inspector.inspect(part.path)
        except ImageError as error:
            self.skipped.append((part.path, str(error)))
            log.warning(f"skipped: {error}")
            return
        self.parts.append(part)
        if prediction.picture is not None:
            self.n_learned += digest_of(prediction.picture) in self.learned
        self.scores.append(prediction.pred_score)
        self.reasons.append(prediction.reason)
        self.latencies_ms.append(prediction.latency_ms)
        self.embeddings.append(prediction.embedding)
        if self.pixels is not None:
            self._count_pixels(self.pixels, part, prediction)

    def _count_pixels(self, pixels: PixelScores, part: Part, prediction: Prediction) -> None:
        if part.is_anomalous and part.mask_path is None:
            return
        mask = load_mask(part, prediction.model_hw)
        if part.is_anomalous and not mask.any():
            log.warning(
                f"warning: {part.mask_path} marks no pixel, so the part is left out of pixel "
                "figures"
            )
            return
        pixels.add(prediction.heat_map(), mask)
        self.n_masks += part.is_anomalous


def find_category(root: Path, bundle_category: str, asked: str | None) -> Category:
    """The category to evaluate on.

    Args:
        root: an MVTec-style root, or one category's folder.
        bundle_category: the category that the bundle was trained on.
        asked: the user's choice, if any; else the bundle's own if ``root`` has it, else ``root``
            itself.

    Raises:
        DataError: nothing fits; the message lists what there is.
    """
    if asked is None and bundle_category in list_categories(root):
        return load_category(root, bundle_category)
    return load_category(root, asked)
