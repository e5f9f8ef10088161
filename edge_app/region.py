"""A box on a part: what it is, and which piece of the picture is inspected for it.

The descriptor speaks for the most anomalous places of what the model sees. For a box the model sees
the piece of the picture around it, at least half of the part in each direction: cut out tighter,
everything would be larger than on the parts it is compared with, and similar defects would no
longer look alike (benchmarks/regions.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from runtime.errors import ImageError

MIN_SHARE = 0.5
# Around the box, in sizes of the box, so that its edges are seen against something.
_MARGIN = 1.3


@dataclass(frozen=True)
class Region:
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

    def around(self, image_rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The piece of a picture that is inspected for the box; it has the picture's aspect ratio.

        Args:
            image_rgb: uint8 (H, W, 3).

        Returns:
            uint8 (h, w, 3), contiguous.

        Raises:
            ImageError: the box lies outside the picture.
        """
        height, width = image_rgb.shape[:2]
        if self.x >= width or self.y >= height:
            raise ImageError(
                f"region {self.x},{self.y},{self.width},{self.height}: expected a box inside "
                f"{width}x{height} pixels, found one outside; give X,Y,W,H in pixels of the picture"
            )
        right, bottom = min(self.x + self.width, width), min(self.y + self.height, height)
        share = max(
            MIN_SHARE, _MARGIN * (right - self.x) / width, _MARGIN * (bottom - self.y) / height
        )
        rows, columns = round(height * min(share, 1.0)), round(width * min(share, 1.0))
        top = min(max((self.y + bottom - rows) // 2, 0), height - rows)
        left = min(max((self.x + right - columns) // 2, 0), width - columns)
        return np.ascontiguousarray(image_rgb[top : top + rows, left : left + columns])
