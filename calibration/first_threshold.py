"""The threshold that a new bundle starts with, from good parts that training did not see.

With enough of them it is the split conformal quantile, which promises a false-reject rate whatever
the scores' distribution. With too few, the largest of a handful of scores would reject good parts
by the dozen, so the bound is extrapolated as if the scores were normal (Student's prediction
bound), and the note says so.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats

from calibration.conformal import ConformalQuantile, conformal_quantile
from runtime.bundle.thresholds import Threshold
from runtime.images.heatmap import upsample_map

# On photographs a promise of 1 % from the few held-out parts let most defects pass; operators set
# theirs with calibrate.
MAX_FALSE_REJECTS = 0.05
# Deviation of good parts' scores as a share of their mean: 0.02 to 0.09 with PatchCore on the sets
# of the benchmarks, more with EfficientAD, where a threshold is then too low rather than too high.
TYPICAL_SPREAD = 0.05
LEAST_FREEDOM = 3


def first_threshold(
    scores: npt.NDArray[np.float64],
    maps: Sequence[npt.NDArray[np.float32]],
    size_hw: tuple[int, int],
    blur_sigma: float,
) -> Threshold:
    """Threshold of one variant.

    Args:
        scores: raw scores of held-out good parts, (n,).
        maps: their anomaly maps at feature resolution, float32 (h, w).
        size_hw: model input size; the pixel threshold is about the up-sampled map.
        blur_sigma: blur of the heat map in pixels.
    """
    image = conformal_quantile(scores, MAX_FALSE_REJECTS)
    peaks = np.array(
        [upsample_map(found, size_hw, blur_sigma).max() for found in maps], dtype=np.float64
    )
    pixel = conformal_quantile(peaks, MAX_FALSE_REJECTS)
    enough = image.n_good >= image.n_needed
    return Threshold(
        image_threshold=image.value if enough else prediction_bound(scores, MAX_FALSE_REJECTS),
        pixel_threshold=pixel.value if enough else prediction_bound(peaks, MAX_FALSE_REJECTS),
        median_good_score=float(np.median(scores)),
        method="conformal" if enough else "prediction_bound",
        n_good=image.n_good,
        max_false_rejects=image.false_reject_rate if enough else None,
        note=_note(image, enough=enough),
    )


def prediction_bound(scores: npt.NDArray[np.float64], rate: float) -> float:
    """Upper bound that the next score of a normal distribution exceeds with probability ``rate``; never below the largest.

    mean + t(df, 1 - rate) * s * sqrt(1 + 1/n), Hahn and Meeker, "Statistical Intervals", section
    4.8, with df = n - 1. One to three scores say next to nothing about their spread: what is
    missing to three degrees of freedom is filled up with a typical one, :data:`TYPICAL_SPREAD` of
    the mean.

    Args:
        scores: (n,), n >= 1.
        rate: in (0, 1).
    """
    count, mean = len(scores), float(np.mean(scores))
    missing = max(0, LEAST_FREEDOM - (count - 1))
    freedom = count - 1 + missing
    squares = float(np.square(scores - mean).sum()) + missing * (TYPICAL_SPREAD * mean) ** 2
    spread = float(np.sqrt(squares / freedom * (1.0 + 1.0 / count)))
    return max(mean + float(stats.t.ppf(1.0 - rate, freedom)) * spread, float(np.max(scores)))


def _note(quantile: ConformalQuantile, *, enough: bool) -> str:
    if enough:
        return (
            f"at most {quantile.false_reject_rate:.1%} of good parts rejected on average, "
            f"from {quantile.n_good} held-out good images"
        )
    return (
        f"extrapolated from {quantile.n_good} held-out good images as if their scores were "
        "normal; a promise of "
        f"{MAX_FALSE_REJECTS:.0%} false rejects needs {quantile.n_needed}: lineside calibrate "
        "BUNDLE --good DIR"
    )
