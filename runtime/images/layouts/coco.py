"""COCO's annotations: which pictures have defects, and their masks.

Polygons, and run lengths as numbers or packed, as https://cocodataset.org/#format-data describes
them. What is annotated is a defect; a picture without annotations is good.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np

from runtime.errors import DataError, reading
from runtime.types import Mask

_ADVICE = "export the annotations again as COCO instances"


class Picture(msgspec.Struct):
    """An entry of ``images``."""

    id: int | str
    file_name: str
    height: int
    width: int


class RunLengths(msgspec.Struct):
    """A segmentation by rows of a column: so many outside, so many inside, and so on."""

    counts: list[int] | str
    size: tuple[int, int]


class Annotation(msgspec.Struct):
    """An entry of ``annotations``."""

    image_id: int | str
    category_id: int | str
    segmentation: list[list[float]] | RunLengths = msgspec.field(default_factory=list)
    bbox: list[float] = msgspec.field(default_factory=list)


class Kind(msgspec.Struct):
    """An entry of ``categories``."""

    id: int | str
    name: str


class CocoFile(msgspec.Struct):
    """A file of annotations."""

    images: list[Picture]
    annotations: list[Annotation]
    categories: list[Kind]


@dataclass(frozen=True)
class Outlines:
    """What is defective in a picture.

    Attributes:
        size_hw: height and width of the picture.
        annotations: of this picture.
    """

    size_hw: tuple[int, int]
    annotations: tuple[Annotation, ...] = field(compare=False)

    def mask(self) -> Mask:
        """Bool (H, W), True within any of the annotations; where one has no outline, its box."""
        found = np.zeros(self.size_hw, np.uint8)
        for one in self.annotations:
            if isinstance(one.segmentation, RunLengths):
                found |= _decoded(one.segmentation, self.size_hw)
                continue
            polygons = [np.reshape(points, (-1, 2)) for points in one.segmentation]
            if not polygons and len(one.bbox) == 4:
                left, top, width, height = one.bbox
                right, bottom = left + width - 1, top + height - 1
                polygons = [np.array([[left, top], [right, top], [right, bottom], [left, bottom]])]
            for points in polygons:
                cv2.fillPoly(found, [np.rint(points).astype(np.int32)], 1)
        return np.asarray(found > 0)


def read_coco(path: Path) -> CocoFile:
    """Read a file of annotations.

    Raises:
        DataError: it is none, or lacks what is needed.
    """
    with reading(path, "COCO annotations", DataError, _ADVICE):
        return msgspec.json.decode(path.read_bytes(), type=CocoFile)


def is_coco(path: Path) -> bool:
    """Whether a file's beginning looks like COCO's annotations; the rest is not read."""
    try:
        with path.open("rb") as file:
            raw = file.read(1 << 16)
    except OSError:
        return False
    return b'"images"' in raw and (b'"file_name"' in raw or b'"annotations"' in raw)


def _decoded(runs: RunLengths, size_hw: tuple[int, int]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    counts = _unpacked(runs.counts) if isinstance(runs.counts, str) else runs.counts
    if runs.size != size_hw or sum(counts) != size_hw[0] * size_hw[1] or min(counts) < 0:
        raise DataError(
            f"COCO annotations: expected run lengths of {size_hw[0]} x {size_hw[1]} pixels, found "
            f"{sum(counts)} pixels of {runs.size[0]} x {runs.size[1]}; {_ADVICE}"
        )
    inside = np.arange(len(counts)) % 2
    # Column by column.
    return np.repeat(inside, counts).astype(np.uint8).reshape(size_hw[::-1]).T


def _unpacked(text: str) -> list[int]:
    """Run lengths of pycocotools: five bits a character, from the third on as differences."""
    counts: list[int] = []
    value = shift = 0
    for character in text.encode("ascii", "replace"):
        bits = character - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    return counts
