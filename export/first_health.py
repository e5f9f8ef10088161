"""The check of pictures that a new bundle starts with: what all usable good parts look like, and how the held-out ones score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from export.certificate import Certified
from export.data.photographs import Photographs
from runtime.errors import ImageError
from runtime.health.baseline import HEALTH_FILE
from runtime.health.build import MIN_PICTURES, BaselineBuilder
from runtime.health.file import write_health
from runtime.preprocess import decode_rgb, resize
from runtime.progress import say, track


def write_first_health(
    root: Path,
    photographs: Photographs,
    size_hw: tuple[int, int],
    certified: Sequence[Certified],
    *,
    learned: bool = False,
) -> None:
    """Write health.json; with too few good parts there is none, and no picture is refused.

    Training pictures are as good as others here, for a picture's focus or light does not depend on what the model has seen;
    their scores do, so scores are those of the held-out parts alone.

    Args:
        root: bundle folder being built.
        photographs: the good parts.
        size_hw: model input size.
        certified: the variants with their scores of the held-out parts.
        learned: the held-out parts were learned since, so their scores are no baseline for the drift test.
    """
    builder = BaselineBuilder()
    for path in track((*photographs.train, *photographs.held_out), "picture statistics"):
        try:
            image = decode_rgb(path)
        except ImageError:
            continue  # reported when the data set was read, or gone since
        builder.add(resize(image, size_hw), image.shape[:2])
    health = builder.baseline({one.variant.key: one.good_scores for one in certified})
    if health is None:
        say(
            f"no check of pictures: it needs {MIN_PICTURES} good parts, found {len(builder.rows)}; "
            "add it later with: lineside calibrate BUNDLE --good DIR"
        )
        return
    if learned:
        # From before: good parts score lower since, and the drift test compares as equals what it is given.
        health = replace(health, scores={})
    write_health(root / HEALTH_FILE, health)
