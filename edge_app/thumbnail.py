"""Small pictures that travel with a stored part and are shown where the files are not."""

from __future__ import annotations

import base64

import cv2
import numpy as np
import numpy.typing as npt

LONG_SIDE = 160
MAX_BYTES = 10_000
_QUALITIES = (80, 60, 40, 20)


def thumbnail(image_rgb: npt.NDArray[np.uint8], long_side: int = LONG_SIDE) -> str:
    """Shrink a picture and encode it.

    Args:
        image_rgb: uint8 (H, W, 3), RGB, [0, 255].
        long_side: pixels of the longer side; smaller pictures keep their size.

    Returns:
        JPEG, base64, at most 10,000 characters; quality falls first, then size.
    """
    side = long_side
    while True:
        image_bgr = _shrunk(image_rgb, side)[:, :, ::-1]
        for quality in _QUALITIES:
            done, data = cv2.imencode(
                ".jpg", np.ascontiguousarray(image_bgr), [cv2.IMWRITE_JPEG_QUALITY, quality]
            )
            text = base64.b64encode(data.tobytes()).decode("ascii") if done else ""
            if len(text) <= MAX_BYTES:
                return text
        side = side * 3 // 4


def _shrunk(image_rgb: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    height, width = image_rgb.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return image_rgb
    size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image_rgb, size_wh, interpolation=cv2.INTER_AREA), dtype=np.uint8)
