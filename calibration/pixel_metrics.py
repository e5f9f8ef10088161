"""Pixel-level metrics in bounded memory: maps are counted into a fixed histogram, never kept.

A float32's bit pattern, with the sign folded in, is ordered as the values are. Its upper 22 bits
are the bin: about four million bins from -inf to inf, each 1/8192 of its value wide. Pixels in one
bin count as ties. That moves an area by less than 1e-4, and by 2e-4 where a map's whole spread is
only half a percent of its level.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt
from sklearn.metrics import auc, roc_curve

from runtime.types import Float32Map, Floats, Mask

_BITS = 22
_SIGN = np.uint32(0x8000_0000)
_ALL = np.uint32(0xFFFF_FFFF)
# Up to this false-positive rate AUPRO is taken; MVTec AD's, and the stricter one of MVTec AD 2.
FPR_LIMIT = 0.3
STRICT_FPR_LIMIT = 0.05


class PixelScores:
    """Anomaly maps and their ground truth, counted as they come; about 100 MiB, however many."""

    def __init__(self) -> None:
        self._good = np.zeros(1 << _BITS, np.float64)
        self._defective = np.zeros(1 << _BITS, np.float64)
        # A defective pixel weighs one over its region's size, so that all regions count the same.
        self._region_weight = np.zeros(1 << _BITS, np.float64)
        self._regions = 0

    def add(self, heat: Float32Map, mask: Mask, counting: Mask | None = None) -> None:
        """Count one image.

        Args:
            heat: float32 (H, W), raw values, all finite.
            mask: bool (H, W), True where defective.
            counting: bool (H, W), pixels that count; None for all. A region of the mask is what
                is left of it.

        Raises:
            ValueError: shapes differ, or a value is not finite.
        """
        if heat.shape != mask.shape or not np.isfinite(heat).all():
            raise ValueError(
                f"expected a finite map {mask.shape}, found {heat.shape} or values not finite"
            )
        bins, good = _bins(heat), ~mask
        if counting is not None:
            good, mask = good & counting, mask & counting
        np.add.at(self._good, bins[good], 1.0)
        if not mask.any():
            return
        np.add.at(self._defective, bins[mask], 1.0)
        # Eight neighbors, as in the evaluation code that comes with MVTec AD.
        count, regions = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        sizes = np.bincount(regions.ravel(), minlength=count)
        np.add.at(self._region_weight, bins[mask], 1.0 / sizes[regions[mask]])
        self._regions += count - 1

    @property
    def regions(self) -> int:
        """Number of defective regions seen."""
        return self._regions

    def auroc(self) -> float:
        """Area under the ROC curve over all pixels; NaN when one class is missing."""
        fpr, tpr = _weighted_roc(self._good, self._defective)
        return float(auc(fpr, tpr)) if fpr.size else math.nan

    def aupro(self, fpr_limit: float = FPR_LIMIT) -> float:
        """Area under the per-region-overlap curve up to a false-positive rate, divided by it.

        Bergmann et al. 2020.

        The mean overlap over regions equals the true-positive rate when every pixel weighs one over
        its region's size.

        Args:
            fpr_limit: upper end of the integral, in (0, 1].

        Returns:
            A value in [0, 1]; NaN without a defective region or without a good pixel.
        """
        fpr, pro = _weighted_roc(self._good, self._region_weight)
        if not fpr.size:
            return math.nan
        inside = fpr <= fpr_limit
        at_limit = float(np.interp(fpr_limit, fpr, pro))
        area = auc(np.append(fpr[inside], fpr_limit), np.append(pro[inside], at_limit))
        return float(area / fpr_limit)


def _bins(heat: Float32Map) -> npt.NDArray[np.int64]:
    # Adding 0.0 turns -0.0 into 0.0, which would otherwise fall into another bin.
    bits = np.ascontiguousarray(heat + np.float32(0.0), np.float32).view(np.uint32)
    ordered = np.where(bits & _SIGN, bits ^ _ALL, bits | _SIGN)
    return np.asarray(ordered >> (32 - _BITS), np.int64)


def _weighted_roc(negative: Floats, positive: Floats) -> tuple[Floats, Floats]:
    if negative.sum() == 0 or positive.sum() == 0:
        return np.empty(0), np.empty(0)
    below, above = np.flatnonzero(negative), np.flatnonzero(positive)
    fpr, tpr, _ = roc_curve(
        np.repeat([False, True], [below.size, above.size]),
        np.concatenate([below, above]),
        sample_weight=np.concatenate([negative[below], positive[above]]),
    )
    return np.asarray(fpr, np.float64), np.asarray(tpr, np.float64)
