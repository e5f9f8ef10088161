"""Which piece of a picture is inspected for a box on it.

The descriptor speaks for the most anomalous places of what the model sees. For a box the model sees
the piece of the picture around it, at least half of the part in each direction: cut out tighter,
everything would be larger than on the parts it is compared with, and similar defects would no
longer look alike (benchmarks/regions.py).
"""

from __future__ import annotations

import numpy as np

from runtime.errors import ImageError
from runtime.images.regions import Box
from runtime.images.roi import RegionOfInterest
from runtime.types import UInt8Image

MIN_SHARE = 0.5
# Around the box, in sizes of the box, so that its edges are seen against something.
_MARGIN = 1.3


def piece_around(
    box: Box, image_rgb: UInt8Image, roi: RegionOfInterest | None = None
) -> UInt8Image:
    """The piece of a picture that is inspected for a box; it has the picture's aspect ratio.

    Args:
        box: what it holds.
        image_rgb: uint8 (H, W, 3).
        roi: of the model, which is about places of whole pictures.

    Returns:
        uint8 (h, w, 3), contiguous.

    Raises:
        ImageError: the box lies outside the picture, or the model knows whole pictures alone.
    """
    height, width = image_rgb.shape[:2]
    if box.x >= width or box.y >= height:
        raise ImageError(
            f"region {box.x},{box.y},{box.width},{box.height}: expected a box inside "
            f"{width}x{height} pixels, found one outside; give X,Y,W,H in pixels of the picture"
        )
    right, bottom = min(box.x + box.width, width), min(box.y + box.height, height)
    share = max(MIN_SHARE, _MARGIN * (right - box.x) / width, _MARGIN * (bottom - box.y) / height)
    rows, columns = round(height * min(share, 1.0)), round(width * min(share, 1.0))
    if roi is not None and (rows, columns) != (height, width):
        raise ImageError(
            f"region {box.x},{box.y},{box.width},{box.height}: expected a model that judges the "
            "whole picture, found one with a region of interest; search for the part without a box"
        )
    top = min(max((box.y + bottom - rows) // 2, 0), height - rows)
    left = min(max((box.x + right - columns) // 2, 0), width - columns)
    return np.ascontiguousarray(image_rgb[top : top + rows, left : left + columns])
