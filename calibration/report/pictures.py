"""The gallery: misses, false alarms and hits as pictures of the part, its ground truth and its heat map."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from calibration.evaluation import Evaluation
from runtime.errors import DataError
from runtime.images.dataset import Part, load_mask
from runtime.images.heatmap import overlay
from runtime.images.preprocess import decode_rgb, resize
from runtime.inspector import Inspector
from runtime.prediction import Prediction
from runtime.types import UInt8Image

_LONG_SIDE = 300
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


def gallery(evaluation: Evaluation, inspector: Inspector, count: int) -> list[Group]:
    """Hardest misses, worst false alarms and clearest hits.

    Args:
        evaluation: of the inspector's bundle.
        inspector: to compute the heat maps again for the few parts shown.
        count: largest number of pictures in a group.
    """
    scores, labels = evaluation.scores, evaluation.labels
    flagged = scores > evaluation.threshold.image_threshold
    rising = [i for i in np.argsort(scores, kind="stable") if evaluation.judged[i]]
    chosen = (
        ("Misses, lowest score first", [i for i in rising if labels[i] and not flagged[i]]),
        (
            "False alarms, highest score first",
            [i for i in rising[::-1] if not labels[i] and flagged[i]],
        ),
        ("Hits, highest score first", [i for i in rising[::-1] if labels[i] and flagged[i]]),
    )
    return [
        Group(
            title,
            len(places),
            tuple(_picture(evaluation.parts[i], inspector) for i in places[:count]),
        )
        for title, places in chosen
    ]


def _picture(part: Part, inspector: Inspector) -> Picture:
    image = decode_rgb(part.path)
    prediction = inspector.inspect(image)
    small = shrunk(image)
    return Picture(
        name=f"{part.path.parent.name}/{part.path.name}",
        defect_type=part.defect_type,
        pred_score=prediction.pred_score,
        verdict=prediction.verdict,
        part=data_uri(small),
        truth=_truth(part, small),
        heat=data_uri(_heat(small, prediction)),
    )


def _heat(small: UInt8Image, prediction: Prediction) -> UInt8Image:
    height, width = small.shape[:2]
    heat = cv2.resize(prediction.heat_map(), (width, height), interpolation=cv2.INTER_LINEAR)
    threshold = prediction.threshold
    # As in the rest of Lineside: clear at a typical good part's value, half strength at the pixel
    # threshold.
    low = min(threshold.median_good_score, threshold.pixel_threshold)
    return overlay(small, np.asarray(heat, np.float32), low, 2 * threshold.pixel_threshold - low)


def _truth(part: Part, small: UInt8Image) -> str | None:
    if part.mask_path is None:
        return None
    try:
        mask = load_mask(part, (small.shape[0], small.shape[1]))
    except (DataError, OSError):
        return None
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return data_uri(_outlined(small, outlines))


def _outlined(small: UInt8Image, outlines: Sequence[npt.NDArray[np.int32]]) -> UInt8Image:
    return np.asarray(cv2.drawContours(small.copy(), outlines, -1, _OUTLINE_RGB, 2), dtype=np.uint8)


def shrunk(image: UInt8Image, long_side: int = _LONG_SIDE) -> UInt8Image:
    """The picture with its longer side no longer than that, uint8 (h, w, 3)."""
    height, width = image.shape[:2]
    scale = min(long_side / max(height, width), 1.0)
    return resize(image, (max(round(height * scale), 1), max(round(width * scale), 1)))


def data_uri(image_rgb: UInt8Image) -> str:
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
