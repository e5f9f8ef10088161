"""Pictures to try the page on, from a data set's test folder."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edge_app.indexing import find_parts
from runtime.atomic import readable
from runtime.errors import ImageError
from runtime.images.dataset import Part, list_categories
from runtime.images.preprocess import decode_rgb

MOST = 24
_THUMBNAIL_SIDE = 200


@dataclass(frozen=True)
class Sample:
    """A picture to click on.

    Attributes:
        part: the picture and what its folder says about it.
        thumbnail_rgb: uint8 (h, w, 3), RGB, at most 200 pixels on the longer side.
    """

    part: Part
    thumbnail_rgb: npt.NDArray[np.uint8]

    @property
    def caption(self) -> str:
        """Defect and file name, e.g. ``crack 003``."""
        return readable(f"{self.part.defect_type} {self.part.path.stem}".strip())


def load_samples(folder: Path, category: str, most: int = MOST) -> list[Sample]:
    """Pick pictures, as many of each kind of defect as of good parts; unreadable ones are left out.

    Args:
        folder: an MVTec-style root, a category's folder, or any folder of pictures.
        category: kind of part; its own folder is used where there is one. A root of other
            categories has no pictures of it.
        most: number of pictures.

    Raises:
        DataError: the folder is missing or holds no picture.
    """
    if not (folder / category).is_dir() and category != folder.name and list_categories(folder):
        return []
    inside = folder / category if (folder / category).is_dir() else folder
    parts = find_parts(inside / "test" if (inside / "test").is_dir() else inside)
    kinds: dict[str, list[Part]] = {}
    for part in parts:
        kinds.setdefault(part.defect_type, []).append(part)
    # Defects first: they are what one wants to see.
    ordered = [kinds[name] for name in sorted(kinds, key=lambda name: (name == "good", name))]
    samples: list[Sample] = []
    for part in (part for row in zip_longest(*ordered) for part in row if part is not None):
        if len(samples) == most:
            break
        try:
            samples.append(Sample(part, _shrunk(decode_rgb(part.path))))
        except ImageError:
            continue
    return samples


def _shrunk(image_rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    height, width = image_rgb.shape[:2]
    scale = min(1.0, _THUMBNAIL_SIDE / max(height, width))
    size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image_rgb, size_wh, interpolation=cv2.INTER_AREA), dtype=np.uint8)
