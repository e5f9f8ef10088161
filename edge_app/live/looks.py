"""How parts look on the screen: the picture, its heat map, the outline of what is wrong."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from edge_app.page.render import shrunk
from runtime.images.preprocess import decode_rgb
from runtime.images.regions import find_regions
from runtime.prediction import Prediction
from runtime.types import UInt8Image

# The newest parts whose pictures are at hand; older ones come from their files.
MOST = 64
SIDE = 1024
_QUALITY = 88
# A camera's JPEG; 64 of them take no more memory than a model.
_KEPT_BYTES = 2 << 20
# What a contour encloses where no pixel reaches its threshold: the part's own worst places.
_WORST = 0.7
_OPACITY = 0.6


@dataclass(frozen=True)
class Look:
    """One judged part.

    Attributes:
        jpeg: the picture, at most 1,024 pixels on the longer side.
        prediction: without the picture; None where only the picture is known.
    """

    jpeg: bytes
    prediction: Prediction | None = None


class Looks:
    """The newest looks by part. Safe in threads."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._looks: OrderedDict[str, Look | Callable[[], Look]] = OrderedDict()

    def add(self, part_id: str, look: Look | Callable[[], Look]) -> None:
        """Keep one, or what makes it if somebody looks; the oldest is forgotten."""
        with self._lock:
            self._looks[part_id] = look
            self._looks.move_to_end(part_id)
            while len(self._looks) > self._most:
                self._looks.popitem(last=False)

    def get(self, part_id: str) -> Look | None:
        """One that is still at hand."""
        found = self._looks.get(part_id)
        return found() if callable(found) else found


def look_of(image_rgb: UInt8Image, prediction: Prediction | None = None) -> Look:
    """What the screen needs of a part.

    Args:
        image_rgb: uint8 (H, W, 3), RGB.
        prediction: on it.
    """
    image_bgr = np.ascontiguousarray(shrunk(image_rgb, SIDE)[:, :, ::-1])
    encoded = cv2.imencode(".jpg", image_bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
    return Look(encoded.tobytes(), prediction and replace(prediction, picture=None))


def look_at_file(
    content: bytes, image_rgb: UInt8Image, prediction: Prediction
) -> Look | Callable[[], Look]:
    """The look of a picture file, or what makes it: few that a program sends are looked at.

    Args:
        content: the file's bytes; large ones are not kept as they are.
        image_rgb: uint8 (H, W, 3), RGB, what they hold.
        prediction: on it.
    """
    if len(content) > _KEPT_BYTES:
        return look_of(image_rgb, prediction)
    told = replace(prediction, picture=None)
    return lambda: look_of(decode_rgb(content), told)


def heat_png(prediction: Prediction) -> bytes:
    """The heat map alone, to lie over the picture: RGBA, clear where the part looks good.

    The colors are inferno's, which get lighter all the way and keep their order for eyes that
    cannot tell red from green.
    """
    heat = prediction.heat_map()
    low, high = prediction.heat_scale(heat)
    strength = np.clip((heat - low) / max(high - low, 1e-12), 0.0, 1.0)
    colors = cv2.applyColorMap((strength * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    alpha = (np.sqrt(strength) * _OPACITY * 255).astype(np.uint8)
    return bytes(cv2.imencode(".png", np.dstack([colors, alpha]))[1].tobytes())


def overlay_png(look: Look) -> bytes:
    """The part under its heat map; empty where there is none."""
    if look.prediction is None or look.prediction.verdict == "cannot_judge":
        return b""
    image_rgb = decode_rgb(look.jpeg)
    drawn = look.prediction.heat_overlay(image_rgb)
    return bytes(cv2.imencode(".png", np.ascontiguousarray(drawn[:, :, ::-1]))[1].tobytes())


def contours(prediction: Prediction) -> list[list[tuple[float, float]]]:
    """Outlines of what is anomalous, largest first; none on a part that is not.

    Returns:
        polygons of (x, y) as shares of width and height, in [0, 1].
    """
    if prediction.verdict != "anomalous":
        return []
    heat = prediction.heat_map()
    low, worst = float(heat.min()), float(heat.max())
    level = min(prediction.threshold.pixel_threshold, low + _WORST * (worst - low))
    height, width = heat.shape
    return [
        [(round((x + 0.5) / width, 4), round((y + 0.5) / height, 4)) for x, y in region.contour]
        for region in find_regions(heat, level).found
        if len(region.contour) >= 3
    ]
