"""What to expect of a new model: how many made-up defects of three strengths it finds.

The defects are painted on parts that the model has not seen, and judged by the threshold in use.
They say little of any real defect; but a model that misses strong ones finds nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from calibration.synthetic import STRENGTHS, graded_defect
from calibration.threshold_rules import promise
from runtime.images.roi import RegionOfInterest
from runtime.progress import track
from runtime.types import Floats, Mask, UInt8Image

log = logging.getLogger("lineside")

# Defects behind a rate, each at every strength; and how long a slow model may take over them.
MADE_UP = 30
_PATIENCE_S = 20.0
# In a bundle: the picture of some of them, and their rates in the manifest's metrics.
PICTURE_FILE = "made_up_defects.png"
METRIC = "made_up_defects"
# Below this share of the medium ones a model is said to find little.
_FEW = 0.5
# Of a defect's pixels in a region of interest, and how often another place is tried.
_INSIDE, _ATTEMPTS = 0.5, 50
_CELL, _MARGIN, _HEADER = 192, 12, 34
_INK = (40, 40, 40)


def share_of_part(place: int, parts: int) -> range:
    """Which of the :data:`MADE_UP` defects go on the part at ``place``: spread evenly."""
    return range(MADE_UP * place // parts, MADE_UP * (place + 1) // parts)


def score_made_up(
    score: Callable[[UInt8Image], float],
    part: UInt8Image,
    defects: Sequence[int],
    seed: int,
    roi: RegionOfInterest | None = None,
) -> list[list[float]]:
    """Raw scores of one part's defects, weak to strong, (defects, strengths).

    Args:
        score: raw score of a picture, by a model that has not seen the part.
        part: uint8 (H, W, 3) RGB.
        defects: their numbers, from :func:`share_of_part`.
        seed: of the defects.
        roi: inside which they are painted; None for the whole part.
    """
    return [
        [score(picture) for picture in _graded(part, index, seed, roi)[0].values()]
        for index in defects
    ]


def score_made_up_on(
    score: Callable[[UInt8Image], float],
    parts: Sequence[UInt8Image],
    seed: int,
    roi: RegionOfInterest | None = None,
) -> Floats:
    """Raw scores of the defects on unseen parts, weak to strong, (m, strengths).

    A model that takes long over them judges fewer.
    """
    rows: list[list[float]] = []
    until = time.monotonic() + _PATIENCE_S
    for place, part in enumerate(track(parts, "made-up defects")):
        if time.monotonic() > until:
            break
        rows += score_made_up(score, part, share_of_part(place, len(parts)), seed, roi)
    return as_scores(rows)


def as_scores(rows: Sequence[Sequence[float]]) -> Floats:
    """Rows of :func:`score_made_up` as an array (m, strengths), m from 0 on."""
    return np.array(rows, np.float64).reshape(-1, len(STRENGTHS))


def found_rates(scores: Floats, threshold: float) -> dict[str, float]:
    """By strength, the share of made-up defects above a threshold; empty of none.

    Args:
        scores: raw, (m, strengths).
        threshold: raw.
    """
    if not len(scores):
        return {}
    found = (scores > threshold).mean(axis=0)
    return {name: float(share) for name, share in zip(STRENGTHS, found, strict=True)}


def tell_what_to_expect(
    rates: dict[str, float], max_false_rejects: float, parts: int, picture: Path | None = None
) -> None:
    """Say in one sentence how many good parts will be stopped, and which defects found.

    Args:
        rates: from :func:`found_rates`.
        max_false_rejects: that the threshold was asked for.
        parts: good ones behind the threshold.
        picture: where some of the defects can be seen.
    """
    promised = promise(parts, max_false_rejects, None)
    said = (
        f"what to expect: of 100 good parts about {100 * max_false_rejects:.3g} will be stopped"
        if promised.is_kept
        else f"what to expect: {parts} good {'part says' if parts == 1 else 'parts say'} nothing "
        f"certain about how many others will be stopped ({promised.n_needed} would)"
    )
    if rates:
        shares = ", ".join(f"{100 * share:.0f} {name}" for name, share in rates.items())
        said += f"; of 100 made-up defects of each strength it finds {shares} ones"
    log.info(said + (f" (examples: {picture})" if picture else ""))
    if rates and rates["medium"] < _FEW:
        log.warning(
            "WARNING: this model finds fewer than half of the medium made-up defects. Try a larger "
            "--size, --backbone vit_small_patch14_dinov2.lvd142m, more good parts, light that "
            "shows defects better, or a larger --max-false-rejects; lineside evaluate tells what "
            "real bad parts say"
        )


def draw_made_up(
    part: UInt8Image, rates: dict[str, float], seed: int, roi: RegionOfInterest | None = None
) -> UInt8Image:
    """A sheet of examples: a row for each strength, a column for each kind of defect.

    Args:
        part: a good part, uint8 (H, W, 3) RGB.
        rates: what is found of each strength.
        seed: of the defects.
        roi: inside which they are painted; None for the whole part.

    Returns:
        uint8 (h, w, 3) RGB.
    """
    columns = [_graded(part, index, seed, roi) for index in range(3)]
    width = 3 * (_CELL + _MARGIN) + _MARGIN
    rows = []
    for name, level in STRENGTHS.items():
        row = np.full((_HEADER + _CELL, width, 3), 255, np.uint8)
        found = f", {100 * rates[name]:.0f} % found" if name in rates else ""
        text = f"{name}: {level:.0f} gray levels{found}"
        font = cv2.FONT_HERSHEY_SIMPLEX
        cv2.putText(row, text, (_MARGIN, _HEADER - 10), font, 0.6, _INK, 1, cv2.LINE_AA)
        for column, (pictures, mask) in enumerate(columns):
            left = _MARGIN + column * (_CELL + _MARGIN)
            row[_HEADER:, left : left + _CELL] = _around(pictures[name], mask)
        rows.append(row)
    return np.vstack([*rows, np.full((_MARGIN, width, 3), 255, np.uint8)])


def _graded(
    part: UInt8Image, index: int, seed: int, roi: RegionOfInterest | None
) -> tuple[dict[str, UInt8Image], Mask]:
    """A defect of every strength, and where it is; for the most part in the region of interest."""
    if roi is None:
        return graded_defect(part, index, seed)[:2]
    piece = np.ascontiguousarray(part[roi.window])
    for attempt in range(_ATTEMPTS):
        # The kind is the index's remainder by three.
        graded, inside, _ = graded_defect(piece, index + 3 * MADE_UP * attempt, seed)
        if roi.mask[roi.window][inside].mean() > _INSIDE:
            break
    mask = np.zeros(roi.mask.shape, np.bool_)
    mask[roi.window] = inside
    whole = {}
    for name, picture in graded.items():
        whole[name] = part.copy()
        whole[name][roi.window] = picture
    return whole, mask


def _around(picture: UInt8Image, mask: Mask) -> UInt8Image:
    """A square around the defect, twice as wide as it, at the size of a cell."""
    height, width = mask.shape
    rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
    extent = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    side = int(min(max(2 * extent, 48), height, width))
    top = int(np.clip((rows[0] + rows[-1] - side) // 2, 0, height - side))
    left = int(np.clip((columns[0] + columns[-1] - side) // 2, 0, width - side))
    window = picture[top : top + side, left : left + side]
    scaled = cv2.resize(window, (_CELL, _CELL), interpolation=cv2.INTER_CUBIC)
    return np.asarray(scaled, dtype=np.uint8)
