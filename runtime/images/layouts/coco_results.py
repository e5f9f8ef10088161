"""Verdicts as COCO's annotations, which FiftyOne, supervision and CVAT open."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime import atomic

if TYPE_CHECKING:
    from runtime.images.regions import Region
    from runtime.prediction import Prediction

_CATEGORY = 1


@dataclass
class CocoResults:
    """Gathers pictures with their regions, then writes one file of annotations.

    Attributes:
        target: the file; with None nothing is gathered.
        pictures: entries of ``images``; verdict, raw score and reason are fields of ours.
        regions: entries of ``annotations``, one for each region above the pixel threshold.
    """

    target: Path | None
    pictures: list[dict[str, Any]] = field(default_factory=list)
    regions: list[dict[str, Any]] = field(default_factory=list)

    def add(self, path: Path, found: Prediction) -> None:
        """Add a part.

        Args:
            path: its picture; the file names it in full, so that it opens from anywhere.
            found: what was said of it. Only an anomalous part has annotations.
        """
        if self.target is None:
            return
        height, width = found.image_hw
        said = found.to_json()
        self.pictures.append(
            {
                "id": len(self.pictures) + 1,
                "file_name": atomic.readable(os.path.abspath(path)),  # noqa: PTH100
                "height": height,
                "width": width,
                **{key: said.get(key) for key in ("verdict", "pred_score", "threshold", "reason")},
            }
        )
        if found.verdict != "anomalous":
            return
        for one in found.regions().found:
            self.regions.append(
                {
                    "id": len(self.regions) + 1,
                    "image_id": len(self.pictures),
                    "category_id": _CATEGORY,
                    "bbox": list(asdict(one.box).values()),
                    "area": one.area,
                    "segmentation": [_polygon(one)],
                    "iscrowd": 0,
                    "score": one.peak.value,
                }
            )

    def close(self) -> None:
        """Write the file, whole or not at all."""
        if self.target is None:
            return
        category = {"id": _CATEGORY, "name": "anomaly", "supercategory": "anomaly"}
        content = {"images": self.pictures, "annotations": self.regions, "categories": [category]}
        atomic.write_json(self.target, content)


def _polygon(region: Region) -> list[int]:
    """Its outline, or where that is a line or a point its box: a polygon has three corners."""
    if len(region.contour) > 2:
        return [number for point in region.contour for number in point]
    left, top = region.box.x, region.box.y
    right, bottom = left + region.box.width, top + region.box.height
    return [left, top, right, top, right, bottom, left, bottom]
