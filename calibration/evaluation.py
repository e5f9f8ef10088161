"""What a bundle does on labeled test parts, through the same Inspector as on the line."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.figures import Evaluation
from calibration.pixel_metrics import STRICT_FPR_LIMIT, PixelScores
from calibration.scoring import digest_of, learned_digests
from runtime.bundle.folder import Bundle
from runtime.errors import DataError, ImageError
from runtime.images.dataset import Category, Part, list_categories, load_category, load_mask
from runtime.inspector import Inspector
from runtime.prediction import Prediction
from runtime.progress import track

log = logging.getLogger("lineside")


def evaluate_bundle(
    path: Path, data: Path, category: str | None = None, **engine: Any
) -> Evaluation:
    """Open a bundle, find its test parts and evaluate it.

    Args:
        path: a bundle folder or ``.lineside`` file.
        data: MVTec-style root or one category's folder.
        category: the category below ``data``; see :func:`find_category`.
        engine: keyword arguments of :class:`runtime.inspector.Inspector`.

    Raises:
        BundleError: no bundle, or not this variant.
        DataError: no such category, or no labeled test parts that can be read.
    """
    with Bundle.open(path) as bundle:
        found = find_category(data, bundle.manifest.category, category)
        with Inspector(bundle, **engine) as inspector:
            return evaluate(inspector, found)


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


def evaluate(inspector: Inspector, category: Category) -> Evaluation:
    """Inspect all test parts of a category.

    Args:
        inspector: an open bundle on an engine.
        category: with labeled test parts.

    Raises:
        DataError: there are no labeled test parts, or none can be read.
    """
    if not category.test:
        raise DataError(
            f"{category.name}: expected labeled test pictures in test/good and test/<defect>, "
            "found none; arrange them like that, or use 'lineside inspect' on pictures without "
            "labels"
        )
    manifest, learned = inspector.bundle.manifest, learned_digests(inspector.bundle)
    pixels = PixelScores() if any(part.mask_path for part in category.test) else None
    n_masks = n_learned = 0
    skipped: list[tuple[Path, str]] = []
    parts: list[Part] = []
    rows: list[tuple[float, str, float, npt.NDArray[np.float32]]] = []
    for part in track(category.test, f"evaluating {manifest.name}"):
        try:
            found = inspector.inspect(part.path, strict=True)
        except ImageError as error:
            skipped.append((part.path, str(error)))
            log.warning(f"skipped: {error}")
            continue
        # No map outlives its part.
        parts.append(part)
        rows.append((found.pred_score, found.reason, found.latency_ms, found.embedding))
        n_learned += found.picture is not None and digest_of(found.picture) in learned
        if pixels is not None:
            n_masks += _count_pixels(pixels, part, found)
    if not parts:
        raise DataError(
            f"{category.name}: expected readable test pictures, found {len(skipped)} unreadable "
            f"ones; the first: {skipped[0][1]}"
        )
    if n_learned:
        log.warning(
            f"warning: {n_learned} of {len(parts)} test pictures are among those that training or "
            "calibration has learnt, so the figures are too good; take them out"
        )
    scores, reasons, latencies_ms, embeddings = zip(*rows, strict=True)
    has_masks = pixels is not None and n_masks > 0
    return Evaluation(
        manifest=manifest,
        category=category.name,
        engine=inspector.variant.engine,
        precision=inspector.variant.precision,
        device=inspector.device,
        threshold=inspector.threshold,
        parts=tuple(parts),
        labels=np.array([part.is_anomalous for part in parts], dtype=np.bool_),
        scores=np.array(scores, dtype=np.float64),
        skipped=tuple(skipped),
        pixel_auroc=pixels.auroc() if pixels is not None and has_masks else math.nan,
        aupro=pixels.aupro() if pixels is not None and has_masks else math.nan,
        aupro_05=pixels.aupro(STRICT_FPR_LIMIT) if pixels is not None and has_masks else math.nan,
        n_masks=n_masks,
        p50_latency_ms=float(np.median(latencies_ms)),
        embeddings=np.stack(embeddings),
        reasons=reasons,
        n_learned=n_learned,
    )


def _count_pixels(pixels: PixelScores, part: Part, found: Prediction) -> bool:
    """Count a part's pixels unless it lacks a mask; whether it is an anomalous part with one."""
    if part.is_anomalous and part.mask_path is None:
        return False
    mask = load_mask(part, found.model_hw)
    counting = None if found.roi is None else found.roi.mask
    if counting is not None and mask.any() and not (mask & counting).any():
        log.warning(
            f"warning: {part.mask_path} marks nothing in the region of interest, so the part is "
            "left out of pixel figures"
        )
        return False
    if part.is_anomalous and not mask.any():
        log.warning(
            f"warning: {part.mask_path} marks no pixel, so the part is left out of pixel figures"
        )
        return False
    pixels.add(found.heat_map(), mask, counting)
    return part.is_anomalous
