"""The region of interest: inside it alone a part is learned and judged.

The graph itself sets what is outside to nothing before its networks see it, so nothing there can
move a score. Here is what the rest of the runtime needs of it: which piece of a picture is checked
for light and focus, which pixels of a heat map count, and how the region is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from runtime.errors import BundleError, ImageError
from runtime.images.preprocess import decode_rgb
from runtime.types import Float32Map, Mask, UInt8Image

# In a bundle: 255 inside, 0 outside, at the model's size.
ROI_FILE = "roi.png"
_GREY = 128
_DIMMED = 0.4
_OUTLINE_RGB = (120, 120, 120)


@dataclass(frozen=True, eq=False)
class RegionOfInterest:
    """A part of every picture, True inside.

    Attributes:
        mask: bool (H, W) at the model's size, with pixels of both kinds.
    """

    mask: Mask

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the smallest box around it."""
        rows, columns = (np.flatnonzero(self.mask.any(axis=axis)) for axis in (1, 0))
        return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)

    def seen(self, image_rgb: UInt8Image) -> UInt8Image:
        """The piece of a picture that counts, everything outside in grey.

        Args:
            image_rgb: uint8 (H, W, 3), at the model's size.

        Returns:
            uint8 (h, w, 3), contiguous.
        """
        piece = image_rgb[self.window].copy()
        piece[~self.mask[self.window]] = _GREY
        return np.ascontiguousarray(piece)

    def cells(self, map_hw: tuple[int, int]) -> Float32Map:
        """Which cells of a map touch the region: 1.0 or 0.0, float32 ``map_hw``."""
        shares = cv2.resize(
            self.mask.astype(np.float32), map_hw[::-1], interpolation=cv2.INTER_AREA
        )
        return np.asarray(shares > 1e-6, dtype=np.float32)

    def apply(self, heat: Float32Map) -> Float32Map:
        """A heat map, float32 (H, W), with its lowest value everywhere outside."""
        return np.where(self.mask, heat, heat.min())

    def draw(self, image_rgb: UInt8Image) -> UInt8Image:
        """A picture of any size, darkened outside, the region outlined."""
        size_wh = (image_rgb.shape[1], image_rgb.shape[0])
        mask = cv2.resize(self.mask.astype(np.uint8), size_wh, interpolation=cv2.INTER_NEAREST)
        drawn = np.where(mask[..., None] > 0, image_rgb, (image_rgb * _DIMMED).astype(np.uint8))
        outlines = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)[0]
        wide = max(1, round(min(size_wh) / 300))
        return np.asarray(cv2.drawContours(drawn, outlines, -1, _OUTLINE_RGB, wide), np.uint8)

    def write(self, path: Path) -> None:
        """Write it as PNG."""
        path.write_bytes(cv2.imencode(".png", self.mask * np.uint8(255))[1].tobytes())


def read_roi(path: Path, size_hw: tuple[int, int]) -> RegionOfInterest:
    """Read what :meth:`RegionOfInterest.write` has written.

    Args:
        path: a bundle's file.
        size_hw: height and width of the model's input.

    Raises:
        BundleError: no such picture, or one of another size or of one color.
    """
    try:
        found = decode_rgb(path).any(axis=2)
    except ImageError as error:
        raise BundleError(
            f"{path}: expected a region of interest, found {error}; copy the bundle again"
        ) from error
    if found.shape != size_hw or found.all() or not found.any():
        colors = " of one color" if found.all() or not found.any() else ""
        raise BundleError(
            f"{path}: expected a region of interest of {size_hw[1]}x{size_hw[0]} pixels, part "
            f"black and part white, found {found.shape[1]}x{found.shape[0]} pixels{colors}; "
            "copy the bundle again"
        )
    return RegionOfInterest(found)
