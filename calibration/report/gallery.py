"""The report's pictures: misses, false alarms and hits, and parts beside those most like them.

Neighbors are exact, among the test parts themselves, each part left out of its own search. The page
asks a store of earlier parts instead.
"""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from calibration.figures import Evaluation
from runtime.errors import DataError
from runtime.images.dataset import Part, load_mask
from runtime.images.preprocess import decode_rgb, resize
from runtime.inspector import Inspector
from runtime.types import UInt8Image

# Neighbors of a part.
K = 5
_LONG_SIDE, _LONG_SIDE_NEIGHBOR = 300, 130
_JPEG_QUALITY = 82
_OUTLINE_RGB = (255, 0, 255)


@dataclass(frozen=True)
class Picture:
    """One part of the gallery.

    Attributes:
        name: ``<folder>/<file>``, as found on disk: to be escaped.
        defect_type: label, as found on disk: to be escaped.
        pred_score: raw score.
        verdict: of the model.
        part: data URI of the part.
        truth: data URI of the part with its ground truth outlined, or None without a mask.
        heat: data URI of the part under its heat map.
    """

    name: str
    defect_type: str
    pred_score: float
    verdict: str
    part: str
    truth: str | None
    heat: str


@dataclass(frozen=True)
class Group:
    """Pictures under one heading; ``total`` counts all such parts, shown or not."""

    title: str
    total: int
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Shown:
    """A part in a row of neighbors; texts as in :class:`Picture`, cosine 1 for the query itself."""

    name: str
    defect_type: str
    similarity: float
    picture: str


@dataclass(frozen=True)
class Neighbors:
    """What the chapter on neighbors shows.

    Attributes:
        n_flagged: flagged parts, which are the queries of both shares.
        anomalous: share of defective parts among their five nearest; NaN where nothing was flagged.
        same_type: the same for parts with the query's own label.
        rows: the query first, then its five nearest.
    """

    n_flagged: int
    anomalous: float
    same_type: float
    rows: tuple[tuple[Shown, ...], ...]


def gallery(evaluation: Evaluation, inspector: Inspector, count: int) -> list[Group]:
    """Hardest misses, worst false alarms and clearest hits.

    Args:
        evaluation: of the inspector's bundle.
        inspector: to compute the heat maps again for the few parts shown.
        count: largest number of pictures in a group.
    """
    rising = np.argsort(evaluation.scores, kind="stable")
    rising = rising[evaluation.judged[rising]]
    anomalous = evaluation.labels[rising]
    flagged = evaluation.scores[rising] > evaluation.threshold.image_threshold
    chosen = {
        "Misses, lowest score first": rising[anomalous & ~flagged],
        "False alarms, highest score first": rising[~anomalous & flagged][::-1],
        "Hits, highest score first": rising[anomalous & flagged][::-1],
    }
    return [
        Group(
            title,
            len(places),
            tuple(_picture(evaluation.parts[place], inspector) for place in places[:count]),
        )
        for title, places in chosen.items()
    ]


def neighbors(evaluation: Evaluation, count: int) -> Neighbors | None:
    """Neighbors of flagged parts, one of each kind in turn, and of one part that was passed.

    Args:
        evaluation: with the descriptors of its parts.
        count: largest number of rows.

    Returns:
        None where there are too few parts to have five neighbors.
    """
    if len(evaluation.parts) <= K:
        return None
    similarity = evaluation.embeddings @ evaluation.embeddings.T
    np.fill_diagonal(similarity, -np.inf)
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :K]
    kinds = np.array([part.defect_type for part in evaluation.parts])
    flagged = np.flatnonzero(
        evaluation.judged & (evaluation.scores > evaluation.threshold.image_threshold)
    )
    near, some = nearest[flagged], len(flagged) > 0
    return Neighbors(
        n_flagged=len(flagged),
        anomalous=float(evaluation.labels[near].mean()) if some else math.nan,
        same_type=float((kinds[near] == kinds[flagged, None]).mean()) if some else math.nan,
        rows=tuple(
            (
                _shown(evaluation.parts[query], 1.0),
                *(
                    _shown(evaluation.parts[one], float(similarity[query, one]))
                    for one in nearest[query]
                ),
            )
            for query in _queries(evaluation, kinds, flagged)[:count]
        ),
    )


def _queries(evaluation: Evaluation, kinds: np.ndarray, flagged: np.ndarray) -> list[int]:
    """The flagged part in the middle of each kind by score, and the most ordinary good part."""

    def middle(places: np.ndarray) -> int:
        rising = places[np.argsort(evaluation.scores[places], kind="stable")]
        return int(rising[len(places) // 2])

    defects = sorted({str(kinds[place]) for place in flagged if evaluation.labels[place]})
    found = [middle(flagged[kinds[flagged] == kind]) for kind in defects]
    passed = np.flatnonzero(evaluation.judged & ~evaluation.labels)
    if len(passed):
        # Before the last kinds, so that a short list has it too.
        found.insert(min(len(found), 2), middle(passed))
    return found


def _shown(part: Part, similarity: float) -> Shown:
    small = _shrunk(decode_rgb(part.path), _LONG_SIDE_NEIGHBOR)
    return Shown(_name(part), part.defect_type, similarity, _data_uri(small))


def _picture(part: Part, inspector: Inspector) -> Picture:
    image = decode_rgb(part.path)
    prediction = inspector.inspect(image, strict=True)
    small = _shrunk(image, _LONG_SIDE)
    return Picture(
        name=_name(part),
        defect_type=part.defect_type,
        pred_score=prediction.pred_score,
        verdict=prediction.verdict,
        part=_data_uri(small),
        truth=_truth(part, small),
        heat=_data_uri(prediction.heat_overlay(small)),
    )


def _name(part: Part) -> str:
    return f"{part.path.parent.name}/{part.path.name}"


def _truth(part: Part, small: UInt8Image) -> str | None:
    if part.mask_path is None:
        return None
    try:
        mask = load_mask(part, (small.shape[0], small.shape[1]))
    except (DataError, OSError):
        return None
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outlined: npt.NDArray[np.uint8] = cv2.drawContours(small.copy(), outlines, -1, _OUTLINE_RGB, 2)
    return _data_uri(outlined)


def _shrunk(image: UInt8Image, long_side: int) -> UInt8Image:
    """The picture with its longer side no longer than that, uint8 (h, w, 3)."""
    height, width = image.shape[:2]
    scale = min(long_side / max(height, width), 1.0)
    return resize(image, (max(round(height * scale), 1), max(round(width * scale), 1)))


def _data_uri(image_rgb: UInt8Image) -> str:
    """A picture as a JPEG inside the page."""
    done, data = cv2.imencode(
        ".jpg", image_rgb[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    )
    if not done:
        raise DataError(
            "report: expected to write a picture as JPEG, it could not be written; run the report "
            "again"
        )
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")
