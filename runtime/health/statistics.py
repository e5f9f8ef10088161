"""Simple numbers about a picture that say whether the camera does its work: focus, exposure, contrast, colour, place.

All are taken from the picture at the model's size, in well under a millisecond. Those that a lamp or an aperture changes
by a factor are on a scale of doublings ("stops"), so that the same step means the same change at any brightness.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

UInt8Image = npt.NDArray[np.uint8]
# Mean picture of the good parts that the place of a part is measured against: grey, this many pixels a side.
REFERENCE_SIDE = 64
WHITE_FROM = 251
BLACK_TO = 4
_WINDOW = cv2.createHanningWindow((REFERENCE_SIDE, REFERENCE_SIDE), cv2.CV_32F)

Scale = Literal["plain", "doublings"]


@dataclass(frozen=True)
class Statistic:
    """What a number means, and on which side of it a picture cannot be judged.

    Attributes:
        name: as in health.json.
        below: what is wrong when it is lower than good parts have it.
        above: the same for higher.
        unit: of :meth:`shown`.
        scale: ``doublings`` for log2(1 + value).
        room: a limit is at least this far from the typical good part, however alike the good parts are.
        judged_below: whether a picture far below cannot be judged; else it counts for drift alone.
        judged_above: the same for far above.
    """

    name: str
    below: str
    above: str
    unit: str
    scale: Scale
    room: float
    judged_below: bool
    judged_above: bool

    def shown(self, value: float) -> str:
        """The value as people read it, e.g. ``"112 grey levels"``."""
        plain = 2.0**value - 1.0 if self.scale == "doublings" else value
        return f"{plain:.3g} {self.unit}".strip()


# A defect may well be dark, bright, sharp-edged or out of place: only what no defect does to a whole picture is refused.
STATISTICS = {
    one.name: one
    for one in (
        Statistic("brightness", "too dark", "too bright", "grey levels", "doublings", 0.5, True, True),
        Statistic("contrast", "hardly any contrast", "more contrast", "grey levels", "doublings", 0.7, True, False),
        Statistic("white_share", "less of it saturated", "overexposed", "% white", "doublings", 2.0, False, True),
        Statistic("black_share", "less of it black", "too much of it black", "% black", "doublings", 4.0, False, True),
        Statistic("focus", "out of focus", "sharper or noisier", "", "plain", 1.5, True, False),
        Statistic("red_cast", "too little red", "too much red", "%", "plain", 8.0, True, True),
        Statistic("blue_cast", "too little blue", "too much blue", "%", "plain", 8.0, True, True),
        Statistic("shift_x", "shifted to the left", "shifted to the right", "% of the width", "plain", 2.0, False, False),
        Statistic("shift_y", "shifted upwards", "shifted downwards", "% of the height", "plain", 2.0, False, False),
    )
}  # fmt: skip
SHIFTS = ("shift_x", "shift_y")


def measure(image_rgb: UInt8Image, reference: npt.NDArray[np.float32] | None = None) -> dict[str, float]:
    """All statistics of a picture.

    * ``brightness``: log2(1 + mean grey level); ``contrast``: log2(1 + standard deviation of the grey levels).
    * ``white_share``, ``black_share``: log2(1 + percent of the pixels at 251 and above, at 4 and below).
    * ``focus``: log2 of the mean squared Laplacian over the variance of the grey levels (energy of the Laplacian, Subbarao
      and Tyan 1998); the division takes the light's strength and the part's own contrast out.
    * ``red_cast``, ``blue_cast``: mean of red, of blue, minus mean of green, in percent of the mean grey level.
    * ``shift_x``, ``shift_y``: by phase correlation with ``reference``, in percent of the side, rightwards and downwards.

    Args:
        image_rgb: uint8 (H, W, 3), RGB, at the model's size.
        reference: float32 (64, 64), mean picture of good parts; without it there are no shifts.

    Returns:
        Finite numbers by name.
    """
    grey = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2GRAY)
    mean, deviation = (float(found[0, 0]) for found in cv2.meanStdDev(grey))
    sharp = cv2.norm(cv2.Laplacian(grey, cv2.CV_16S), cv2.NORM_L2SQR) / grey.size
    red, green, blue = cv2.mean(image_rgb)[:3]
    found = {
        "brightness": math.log2(1.0 + mean),
        "contrast": math.log2(1.0 + deviation),
        "white_share": _share(grey, WHITE_FROM, 255),
        "black_share": _share(grey, 0, BLACK_TO),
        # A tenth of a grey level squared keeps an even picture from dividing nothing by nothing.
        "focus": math.log2((sharp + 0.1) / (deviation**2 + 0.1)),
        "red_cast": 100.0 * (red - green) / (mean + 1.0),
        "blue_cast": 100.0 * (blue - green) / (mean + 1.0),
    }
    if reference is not None:
        found.update(zip(SHIFTS, shift(thumbnail(image_rgb), reference), strict=True))
    return found


def thumbnail(image_rgb: UInt8Image) -> npt.NDArray[np.float32]:
    """The picture as shifts see it: grey, float32 (64, 64), [0, 255].

    Args:
        image_rgb: uint8 (H, W, 3), RGB, any size.
    """
    grey = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (REFERENCE_SIDE, REFERENCE_SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.float32)


def shift(picture: npt.NDArray[np.float32], reference: npt.NDArray[np.float32]) -> tuple[float, float]:
    """How far a picture lies to the right of and below another, in percent of the side, in [-50, 50].

    Phase correlation (Kuglin and Hines 1975), with OpenCV's centroid for fractions of a pixel.

    Args:
        picture: float32 (64, 64).
        reference: float32 (64, 64).
    """
    (right, down), _ = cv2.phaseCorrelate(reference, picture, _WINDOW)
    side = REFERENCE_SIDE / 2
    # An even picture correlates with nothing; OpenCV then returns the middle or no number at all.
    kept = [float(np.clip(value, -side, side)) if math.isfinite(value) else 0.0 for value in (right, down)]
    return 100.0 * kept[0] / REFERENCE_SIDE, 100.0 * kept[1] / REFERENCE_SIDE


def _share(grey: UInt8Image, low: int, high: int) -> float:
    count = cv2.countNonZero(cv2.inRange(grey, low, high))
    return math.log2(1.0 + 100.0 * count / grey.size)
