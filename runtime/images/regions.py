"""What is wrong with a part, in numbers: where its heat map lies above the pixel threshold."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self

import cv2
import numpy as np

from runtime.types import Float32Map, UInt8Image

MOST_REGIONS = 20
MOST_POINTS = 64
# The polygon lies within this share of the outline's length; doubled until the points suffice.
_TOLERANCE = 0.002
_OUTLINE_RGB = (255, 255, 255)


@dataclass(frozen=True)
class Box:
    """A box in pixels of the picture at its own size, from the upper left corner."""

    x: int
    y: int
    width: int
    height: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``X,Y,W,H``.

        Raises:
            ValueError: not four whole numbers, a negative corner, or an empty box.
        """
        try:
            x, y, width, height = (int(number) for number in text.split(","))
        except ValueError as error:
            raise ValueError(f"expected four whole numbers X,Y,W,H, found {text!r}") from error
        if min(x, y) < 0 or min(width, height) < 1:
            raise ValueError(
                f"expected a corner inside the picture and a size of at least 1, found {text!r}"
            )
        return cls(x, y, width, height)

    @classmethod
    def from_shares(
        cls, shares: tuple[float, float, float, float], image_hw: tuple[int, int]
    ) -> Self:
        """From left, top, width and height as shares of the picture's size, cut off at [0, 1]."""
        height, width = image_hw
        # This order of min and max turns NaN into 0.
        left, top, wide, high = (max(0.0, min(share, 1.0)) for share in shares)
        return cls(
            min(int(left * width), width - 1),
            min(int(top * height), height - 1),
            max(1, round(wide * width)),
            max(1, round(high * height)),
        )


@dataclass(frozen=True)
class Peak:
    """The highest raw value of the heat map, and the pixel of the picture that has it."""

    value: float
    x: int
    y: int


@dataclass(frozen=True)
class Region:
    """A connected piece of a picture whose heat lies above the pixel threshold.

    Attributes:
        box: the smallest one around it.
        area: pixels above the threshold.
        share: the same as a share of the picture, in (0, 1].
        peak: its hottest pixel.
        contour: its outline as a polygon, (x, y) of pixels that belong to it, clockwise or not, at
            most :data:`MOST_POINTS`; one or two points where it is no wider than a line.
    """

    box: Box
    area: int
    share: float
    peak: Peak
    contour: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Regions:
    """Regions of one picture, the largest first, and how many smaller ones are left out."""

    found: tuple[Region, ...] = ()
    left_out: int = 0

    def to_json(self) -> dict[str, Any]:
        """The fields ``regions`` and ``regions_left_out``."""
        return {
            "regions": [
                {**asdict(one), "contour": [list(point) for point in one.contour]}
                for one in self.found
            ],
            "regions_left_out": self.left_out,
        }


def find_regions(heat: Float32Map, threshold: float, most: int = MOST_REGIONS) -> Regions:
    """Measure what lies above a threshold. Pixels that touch at a corner belong together.

    Outlines follow Suzuki and Abe 1985, their polygons Douglas and Peucker 1973. What lies in a
    region's hole belongs to the region.

    Args:
        heat: float32 (H, W), raw values at the picture's own size.
        threshold: raw value; a pixel strictly above it is anomalous.
        most: regions to describe.
    """
    mask = (heat > threshold).astype(np.uint8)
    outlines = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    regions = [_measured(heat, mask, outline) for outline in outlines]
    regions.sort(key=lambda one: (-one.area, one.box.y, one.box.x))
    return Regions(tuple(regions[:most]), max(len(regions) - most, 0))


def _measured(heat: Float32Map, mask: UInt8Image, outline: Any) -> Region:
    x, y, width, height = cv2.boundingRect(outline)
    rows, columns = slice(y, y + height), slice(x, x + width)
    inside = np.zeros((height, width), np.uint8)
    cv2.drawContours(inside, [outline], -1, 1, cv2.FILLED, offset=(-x, -y))
    inside &= mask[rows, columns]
    area = int(np.count_nonzero(inside))
    _, value, _, (peak_x, peak_y) = cv2.minMaxLoc(heat[rows, columns], inside)
    return Region(
        Box(x, y, width, height),
        area,
        area / heat.size,
        Peak(float(value), x + peak_x, y + peak_y),
        _polygon(outline),
    )


def _polygon(outline: Any) -> tuple[tuple[int, int], ...]:
    tolerance = max(_TOLERANCE * cv2.arcLength(outline, closed=True), 0.5)
    points = cv2.approxPolyDP(outline, tolerance, closed=True)
    while len(points) > MOST_POINTS:
        tolerance *= 2.0
        points = cv2.approxPolyDP(outline, tolerance, closed=True)
    return tuple((int(x), int(y)) for x, y in points[:, 0])


def draw_outlines(image_rgb: UInt8Image, heat: Float32Map, threshold: float) -> UInt8Image:
    """Draw where the heat crosses the threshold.

    Args:
        image_rgb: uint8 (H, W, 3), RGB.
        heat: float32 (H, W), raw values.
        threshold: raw value.

    Returns:
        uint8 (H, W, 3), RGB; the picture itself where nothing lies above the threshold.
    """
    mask = (heat > threshold).astype(np.uint8)
    outlines = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)[0]
    if not outlines:
        return image_rgb
    wide = max(1, round(min(heat.shape) / 300))
    drawn = cv2.drawContours(np.ascontiguousarray(image_rgb), outlines, -1, _OUTLINE_RGB, wide)
    return np.asarray(drawn, np.uint8)
