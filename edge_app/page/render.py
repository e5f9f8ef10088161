"""Results as HTML. Everything that comes from files, stores or people is escaped."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from html import escape

import cv2
import numpy as np
import numpy.typing as npt

from edge_app.page.station import Judged
from edge_app.store import Neighbor, PartPoint
from runtime.prediction import Prediction

# Sign and word, so that nobody has to tell red from green.
VERDICTS = {
    "good": ("✓", "Good"),
    "anomalous": ("✗", "Anomalous"),
    "cannot_judge": ("?", "Cannot judge"),
}
_SHOWN_SIDE = 720

EMPTY = """<div class="ls-empty"><b>No part yet</b><span>Drop a picture on the left, or pick a sample.</span></div>"""


def verdict(judged: Judged) -> str:
    """Banner: verdict, the score on its scale, and the figures behind it."""
    prediction = judged.prediction
    sign, word = VERDICTS[prediction.verdict]
    threshold = prediction.threshold
    figures = (
        f"raw score <b>{prediction.pred_score:.3f}</b>",
        f"threshold <b>{threshold.image_threshold:.3f}</b>",
        f"{prediction.latency_ms:.1f} ms",
        f"{escape(prediction.engine)} {escape(prediction.precision)} on "
        f"{escape(prediction.device)}",
    )
    notes = "".join(
        f'<div class="ls-warning {kind}" role="alert">{escape(text[:1].upper() + text[1:])}</div>'
        for kind, text in (("ls-drift", judged.drift), ("", judged.warning))
        if text
    )
    reason = (
        f'<div class="ls-reason">{escape(prediction.reason)}</div>' if prediction.reason else ""
    )
    return (
        f'<div class="ls-verdict ls-{prediction.verdict}" role="status" '
        f'data-verdict="{prediction.verdict}">'
        f'<div class="ls-word"><span aria-hidden="true">{sign}</span>{word}</div>'
        f'<div class="ls-middle">{reason or _gauge(prediction)}'
        f'<div class="ls-figures">{" · ".join(figures)}</div></div></div>{notes}'
    )


def pictures(judged: Judged) -> str:
    """The part, and the part with its heat map under a slider."""
    shown = _shrunk(judged.image_rgb)
    plain = _data_url(shown)
    heat = _data_url(judged.prediction.heat_overlay(shown))
    name = escape(judged.point.path.replace("\\", "/").rsplit("/", 1)[-1])
    return (
        '<div class="ls-pictures">'
        '<figure><div class="ls-drag" title="Drag a box to find earlier parts like it; click to '
        'go back">'
        f'<img src="{plain}" alt="the part" draggable="false"><div class="ls-box" '
        "hidden></div></div>"
        f"<figcaption>Part <span>{name}</span></figcaption></figure>"
        f'<figure><div class="ls-layers"><img src="{plain}" alt="">'
        f'<img class="ls-heat" src="{heat}" alt="heat map over the part"></div>'
        "<figcaption>Where <label>heat map "
        '<input type="range" min="0" max="1" step="0.05" value="1" aria-label="strength of the '
        'heat map" '
        "oninput=\"this.closest('figure').querySelector('.ls-heat').style.opacity=this.value\"></label>"
        "</figcaption></figure></div>"
    )


def neighbors(found: Sequence[Neighbor], problem: str = "", *, of_box: bool = False) -> str:
    """Cards of the most similar earlier parts.

    Args:
        found: best first.
        problem: why the store could not be asked.
        of_box: whether they look like the box on the part instead of the whole part.
    """
    heading = "Earlier parts like the box" if of_box else "Earlier parts like this one"
    if problem:
        return (
            f'<div class="ls-neighbours"><h3>{heading}</h3>'
            '<div class="ls-warning" role="alert">Earlier parts cannot be shown: '
            f"{escape(problem)}</div></div>"
        )
    if not found:
        text = "No earlier part to compare with yet. Parts are remembered when you give your word on them."
        return f'<div class="ls-neighbours"><h3>{heading}</h3><p>{text}</p></div>'
    cards = "".join(_card(neighbor) for neighbor in found)
    return f'<div class="ls-neighbours"><h3>{heading}</h3><div class="ls-cards">{cards}</div></div>'


def recorded(point: PartPoint, word: str, total: int | None) -> str:
    """One line that says what was stored.

    Args:
        point: the part.
        word: ``right`` or ``wrong``.
        total: number of parts in memory, or None where it is not known.
    """
    said = "right" if word == "right" else "wrong"
    memory = "" if total is None else f" {total} parts in memory."
    return (
        '<div class="ls-recorded" role="status">Remembered: verdict '
        f"“{escape(VERDICTS[point.verdict][1])}” is "
        f"<b>{said}</b>.{memory} The other button changes that.</div>"
    )


def problem(text: str) -> str:
    """An error in the place of the verdict."""
    return f'<div class="ls-warning" role="alert">{escape(text)}</div>'


def _gauge(prediction: Prediction) -> str:
    percent = 100.0 * prediction.normalized_score
    return (
        '<div class="ls-gauge" role="meter" aria-label="score; the threshold is in the middle" '
        'aria-valuemin="0" '
        f'aria-valuemax="100" aria-valuenow="{percent:.0f}"><i '
        f'style="left:{percent:.1f}%"></i></div>'
    )


def _card(neighbor: Neighbor) -> str:
    point = neighbor.point
    sign, word = VERDICTS.get(point.verdict, ("?", point.verdict))
    kind = point.defect_type if point.defect_type not in ("", "good") else ""
    said = {"right": "operator: right", "wrong": "operator: wrong"}.get(point.confirmed, "")
    lines = "".join(
        f"<span>{escape(text)}</span>" for text in (kind, said, point.time[:10]) if text
    )
    return (
        f'<figure class="ls-card ls-{escape(point.verdict)}" '
        f'data-verdict="{escape(point.verdict)}" '
        f'title="{escape(point.path)}">{_thumbnail(point)}<figcaption>'
        f"<b>{sign} {escape(word)}</b><em>{100 * neighbor.similarity:.0f} % "
        f"alike</em>{lines}</figcaption></figure>"
    )


def _thumbnail(point: PartPoint) -> str:
    try:
        data = base64.b64decode(point.thumbnail, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if not data:
        return '<div class="ls-nothumb">no picture</div>'
    # Encoded again: what goes into the page is base64 and nothing else, whoever wrote the store.
    return f'<img src="data:image/jpeg;base64,{base64.b64encode(data).decode("ascii")}" alt="earlier part">'


def _shrunk(image_rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    height, width = image_rgb.shape[:2]
    scale = min(1.0, _SHOWN_SIDE / max(height, width))
    size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image_rgb, size_wh, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _data_url(image_rgb: npt.NDArray[np.uint8]) -> str:
    _, data = cv2.imencode(
        ".jpg", np.ascontiguousarray(image_rgb[:, :, ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 88]
    )
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode('ascii')}"
