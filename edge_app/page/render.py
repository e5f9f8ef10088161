"""Results as HTML. Everything that comes from files, stores or people is escaped."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

import cv2
import numpy as np

from edge_app.api.answers import file_name
from edge_app.line import Judged
from edge_app.similar import SEEN_BEFORE
from edge_app.store import Neighbor, PartPoint
from edge_app.store.words import truth
from runtime.prediction import Prediction
from runtime.types import UInt8Image

# Sign and word, so that nobody has to tell red from green.
VERDICTS = {
    "good": ("✓", "Good"),
    "anomalous": ("✗", "Anomalous"),
    "cannot_judge": ("?", "Cannot judge"),
}
_SHOWN_SIDE = 720

EMPTY = (
    '<div class="ls-empty"><b>No part yet</b>'
    "<span>Drop a picture anywhere, paste one, or pick a sample.</span></div>"
)

# The other screens, below wherever the page itself lies.
_SCREENS = {"inspect": "Inspect", "history": "History", "model": "Model", "batch": "Batch"}

# In the place of the verdict while none stands; the style sheet shows what fits.
WAITING = (
    '<div class="ls-waiting" role="status"><b><span aria-hidden="true">…</span>Judging</b>'
    '<p class="ls-if-late">No verdict yet. Send the picture again.</p>'
    '<p class="ls-if-lost">The box does not answer. What was shown is not live.</p></div>'
)


def name() -> str:
    """The product, and the way to the other screens."""
    links = "".join(f'<a href="{path}">{word}</a>' for path, word in _SCREENS.items())
    return f'<div class="ls-name">Lineside<nav>{links}</nav></div>'


def verdict(judged: Judged) -> str:
    """Banner: verdict, the score on its scale, and the figures behind it."""
    prediction = judged.prediction
    sign, word = VERDICTS[prediction.verdict]
    engine = f"{prediction.engine} {prediction.precision} on {prediction.device}"
    figures = (
        f"raw score <b>{prediction.pred_score:.3f}</b>",
        f"threshold <b>{prediction.threshold.image_threshold:.3f}</b>",
        f"{prediction.latency_ms:.1f} ms",
        escape(engine),
    )
    notes = "".join(
        problem(text[0].upper() + text[1:], kind)
        for kind, text in (("ls-drift", judged.drift), ("", judged.warning))
        if text
    )
    reason = prediction.reason and f'<div class="ls-reason">{escape(prediction.reason)}</div>'
    return f"""
<div class="ls-verdict ls-{prediction.verdict}" role="status" data-verdict="{prediction.verdict}">
<div class="ls-word"><span aria-hidden="true">{sign}</span>{word}</div>
<div class="ls-middle">{reason or _gauge(prediction)}
<div class="ls-figures">{" · ".join(figures)}</div></div></div>{notes}"""


def unjudged(name: str, reason: str) -> str:
    """Banner of a part that got no verdict because something has failed."""
    sign, word = VERDICTS["cannot_judge"]
    return f"""
<div class="ls-verdict ls-cannot_judge" role="status" data-verdict="cannot_judge">
<div class="ls-word"><span aria-hidden="true">{sign}</span>{word}</div>
<div class="ls-middle"><div class="ls-reason">{escape(reason)}</div>
<div class="ls-figures">{escape(name)}</div></div></div>"""


def pictures(judged: Judged) -> str:
    """The part, and the part with its heat map under a slider."""
    shown = shrunk(judged.image_rgb, _SHOWN_SIDE)
    plain = _data_url(shown)
    heat = _data_url(judged.prediction.heat_overlay(shown))
    title = escape(file_name(judged.point.path))
    fade = "this.closest('figure').querySelector('.ls-heat').style.opacity=this.value"
    return f"""
<div class="ls-pictures">
<figure>
<div class="ls-drag" title="Drag a box to find earlier parts like it; click to go back">
<img src="{plain}" alt="the part" draggable="false"><div class="ls-box" hidden></div></div>
<figcaption>Part <span>{title}</span></figcaption>
</figure>
<figure>
<div class="ls-layers"><img src="{plain}" alt="">
<img class="ls-heat" src="{heat}" alt="heat map over the part"></div>
<figcaption>Where <label>heat map <input type="range" min="0" max="1" step="0.05" value="1"
 aria-label="strength of the heat map" oninput="{fade}"></label></figcaption>
</figure>
</div>"""


def neighbors(found: Sequence[Neighbor], trouble: str = "", *, of_box: bool = False) -> str:
    """Cards of the most similar earlier parts.

    Args:
        found: best first.
        trouble: why the store could not be asked.
        of_box: whether they look like the box on the part instead of the whole part.
    """
    near = [one for one in found if one.similarity >= SEEN_BEFORE]
    if trouble:
        inside = problem(f"Earlier parts cannot be shown: {trouble}")
    elif near:
        inside = f'<div class="ls-cards">{"".join(map(_card, near))}</div>'
    elif found:
        inside = "<p>Nothing like this seen before.</p>"
    else:
        inside = (
            "<p>No earlier part to compare with yet. Parts are remembered when you give your word "
            "on them.</p>"
        )
    like = "the box" if of_box else "this one"
    return f'<div class="ls-neighbours"><h3>Earlier parts like {like}</h3>{inside}</div>'


def recorded(point: PartPoint, word: str, total: int | None) -> str:
    """One line that says what was stored.

    Args:
        point: the part.
        word: ``right`` or ``wrong``.
        total: number of parts in memory, or None where it is not known.
    """
    memory = "" if total is None else f" {total} parts in memory."
    verdict = escape(VERDICTS[point.verdict][1])
    return (
        f'<div class="ls-recorded" role="status">Remembered: verdict “{verdict}” is '
        f"<b>{escape(word)}</b>.{memory} The other button changes that.</div>"
    )


def problem(text: str, kind: str = "") -> str:
    """A warning, e.g. in the place of the verdict; ``kind`` is a further CSS class."""
    return f'<div class="ls-warning {kind}" role="alert">{escape(text)}</div>'


def shrunk(image_rgb: UInt8Image, side: int) -> UInt8Image:
    """A picture of at most ``side`` pixels on the longer side."""
    height, width = image_rgb.shape[:2]
    scale = min(1.0, side / max(height, width))
    size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image_rgb, size_wh, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _gauge(prediction: Prediction) -> str:
    percent = 100.0 * prediction.normalized_score
    return f"""
<div class="ls-gauge" role="meter" aria-label="score; the threshold is in the middle"
 aria-valuemin="0" aria-valuemax="100" aria-valuenow="{percent:.0f}">
<i style="left:{percent:.1f}%"></i></div>"""


def _card(neighbor: Neighbor) -> str:
    point = neighbor.point
    # By what it turned out to be: a part that was passed by mistake is not shown as a good one.
    kind = truth(point.verdict, point.defect_type, point.confirmed, point.confirmed_defect)
    verdict = kind if kind in ("good", "cannot_judge") else "anomalous"
    sign, word = VERDICTS[verdict][0], VERDICTS.get(kind, ("", kind))[1]
    said = f"operator: {point.confirmed}" if point.confirmed in ("right", "wrong") else ""
    lines = "".join(f"<span>{escape(text)}</span>" for text in (said, point.time[:10]) if text)
    # Its name alone: where it lies on the box is nobody's business.
    name = escape(file_name(point.path))
    return f"""
<figure class="ls-card ls-{verdict}" data-verdict="{verdict}" title="{name}">
{_thumbnail(point)}<figcaption><b>{sign} {escape(word)}</b>
<em>{100 * neighbor.similarity:.0f} % alike</em>{lines}</figcaption></figure>"""


def _thumbnail(point: PartPoint) -> str:
    try:
        data = base64.b64decode(point.thumbnail, validate=True)
    except ValueError:
        data = b""
    if not data:
        return '<div class="ls-nothumb">no picture</div>'
    return f'<img src="{_jpeg_url(data)}" alt="earlier part">'


def _data_url(image_rgb: UInt8Image) -> str:
    image_bgr = np.ascontiguousarray(image_rgb[:, :, ::-1])
    return _jpeg_url(cv2.imencode(".jpg", image_bgr, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes())


def _jpeg_url(data: bytes) -> str:
    # Encoded here: what goes into the page is base64 and nothing else, whoever wrote the store.
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode('ascii')}"
