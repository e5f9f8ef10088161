"""Simple numbers about a picture that say whether the camera does its work.

All are taken from the picture at the model's size, in well under a millisecond. Those that a lamp
or an aperture changes by a factor are on a scale of doublings ("stops"), so that the same step
means the same change at any brightness.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from runtime.decode import PLAUSIBLE
from runtime.types import UInt8Image

# The part's place is looked for in a picture of this many pixels a side.
PLACE_SIDE = 64
# log2(1 + value) of an all-white picture's grey level, and of all of its pixels in percent.
_WHITE, _ALL = math.log2(256.0), math.log2(101.0)
WHITE_FROM = 251
BLACK_TO = 4
# A factor of 2 to the 64th.
MOST_DOUBLINGS = 64.0


@dataclass(frozen=True)
class Statistic:
    """What a number means, and on which side of it a picture cannot be judged.

    Attributes:
        name: as in health.json.
        below: what is wrong when it is lower than good parts have it.
        above: the same for higher.
        unit: of :meth:`shown`.
        room: a limit is at least this far from the typical good part, however alike the good parts
            are.
        judged: on which side of the limits a picture cannot be judged.
        scale: ``doublings`` for log2(1 + value).
        extreme: the highest value that a picture can have, infinity where there is none.
    """

    name: str
    below: str
    above: str
    unit: str
    room: float
    judged: Literal["below", "above", "both", ""] = ""
    scale: Literal["plain", "doublings"] = "plain"
    extreme: float = math.inf

    @property
    def judged_below(self) -> bool:
        """Whether a picture far below cannot be judged; else it counts for drift alone."""
        return self.judged in ("below", "both")

    @property
    def judged_above(self) -> bool:
        """The same for far above."""
        return self.judged in ("above", "both")

    def shown(self, value: float) -> str:
        """The value as people read it, e.g. ``"112 grey levels"``."""
        plain = 2.0**value - 1.0 if self.scale == "doublings" else value
        return f"{plain:.3g} {self.unit}".strip()

    def stored(self, shown: float) -> float:
        """The value behind a number as people read it.

        Raises:
            ValueError: not finite, implausible, or negative where only a factor makes sense.
        """
        if not math.isfinite(shown) or (self.scale == "doublings" and shown < 0):
            raise ValueError(str(shown))
        value = math.log2(1.0 + shown) if self.scale == "doublings" else shown
        self.check([value])
        return value

    def check(self, values: Iterable[float]) -> None:
        """Refuse what no picture can have, and no person means.

        Raises:
            ValueError: a value beyond it.
        """
        most = MOST_DOUBLINGS if self.scale == "doublings" else PLAUSIBLE
        for value in values:
            if abs(value) > most:
                raise ValueError(f"{self.name}: expected at most {most:g}, found {value:g}")


_LOG: Literal["doublings"] = "doublings"
# A defect may well be dark, bright, sharp-edged or out of place: only what no defect does to a
# whole picture is refused.
STATISTICS = {
    one.name: one
    for one in (
        Statistic("brightness", "too dark", "too bright", "grey levels", 0.5, "both", _LOG, _WHITE),
        Statistic(
            "contrast", "hardly any contrast", "more contrast", "grey levels", 0.7, "below", _LOG
        ),
        Statistic(
            "white_share",
            "less of it saturated",
            "overexposed",
            "% white",
            2.0,
            "above",
            _LOG,
            _ALL,
        ),
        Statistic(
            "black_share",
            "less of it black",
            "too much of it black",
            "% black",
            4.0,
            "above",
            _LOG,
            _ALL,
        ),
        Statistic("focus", "out of focus", "sharper or noisier", "", 1.5, "below"),
        Statistic("red_cast", "too little red", "too much red", "%", 8.0, "both"),
        Statistic("blue_cast", "too little blue", "too much blue", "%", 8.0, "both"),
        Statistic("centre_x", "shifted to the left", "shifted to the right", "% of the width", 2.0),
        Statistic("centre_y", "shifted upwards", "shifted downwards", "% of the height", 2.0),
    )
}


def measure(image_rgb: UInt8Image) -> dict[str, float]:
    """All statistics of a picture.

    * ``brightness``: log2(1 + mean grey level); ``contrast``: log2(1 + standard deviation of the
      grey levels).
    * ``white_share``, ``black_share``: log2(1 + percent of the pixels at 251 and above, at 4 and
      below).
    * ``focus``: log2 of the mean squared Laplacian over the variance of the grey levels (energy of
      the Laplacian, Subbarao and Tyan 1998); the division takes the light's strength and the part's
      own contrast out.
    * ``red_cast``, ``blue_cast``: mean of red, of blue, minus mean of green, in percent of the mean
      grey level.
    * ``centre_x``, ``centre_y``: see :func:`center`.

    Args:
        image_rgb: uint8 (H, W, 3), RGB, at the model's size.

    Returns:
        Finite numbers by name.
    """
    gray = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2GRAY)
    mean, deviation = (float(found[0, 0]) for found in cv2.meanStdDev(gray))
    sharp = cv2.norm(cv2.Laplacian(gray, cv2.CV_16S), cv2.NORM_L2SQR) / gray.size
    red, green, blue = cv2.mean(image_rgb)[:3]
    center_x, center_y = center(gray)
    return {
        "brightness": math.log2(1.0 + mean),
        "contrast": math.log2(1.0 + deviation),
        "white_share": _share(gray, WHITE_FROM, 255),
        "black_share": _share(gray, 0, BLACK_TO),
        # A tenth of a grey level squared keeps an even picture from dividing nothing by nothing.
        "focus": math.log2((sharp + 0.1) / (deviation**2 + 0.1)),
        "red_cast": 100.0 * (red - green) / (mean + 1.0),
        "blue_cast": 100.0 * (blue - green) / (mean + 1.0),
        "centre_x": center_x,
        "centre_y": center_y,
    }


def center(gray: UInt8Image) -> tuple[float, float]:
    """Centre of gravity of what differs from the picture's border, in percent of the side.

    A part on an even ground moves it by as much as it moves itself; a texture that fills the
    picture has it near the middle.

    Args:
        gray: uint8 (H, W).

    Returns:
        Rightwards and downwards from the middle, each in [-50, 50]; 0 for an even picture.
    """
    small = cv2.resize(gray, (PLACE_SIDE, PLACE_SIDE), interpolation=cv2.INTER_AREA).astype(
        np.float32
    )
    border = float(small[0].sum() + small[-1].sum() + small[1:-1, 0].sum() + small[1:-1, -1].sum())
    weight = np.abs(small - border / (4 * PLACE_SIDE - 4))
    total = float(weight.sum())
    if total < 1.0:
        return 0.0, 0.0
    across = (np.arange(PLACE_SIDE) + 0.5) / PLACE_SIDE - 0.5
    return 100.0 * float(weight.sum(axis=0) @ across) / total, 100.0 * float(
        weight.sum(axis=1) @ across
    ) / total


def _share(gray: UInt8Image, low: int, high: int) -> float:
    count = cv2.countNonZero(cv2.inRange(gray, low, high))
    return math.log2(1.0 + 100.0 * count / gray.size)
