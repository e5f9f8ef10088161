"""Whether a WebP needs all of its bytes: a damaged one mostly comes out with some to spare.

Neither VP8 nor VP8L has a checksum, and libwebp says nothing of codes that make no sense. But a
whole picture cannot be decoded without its last bytes. Of one that can, the decoder has lost its
place.
"""

from __future__ import annotations

import cv2
import numpy as np

# Encoders fill up the last word; none of 306 files was whole without so many bytes.
_SPARE = 16
_LEAST = 64
_BITSTREAMS = (b"VP8 ", b"VP8L")


def has_bytes_to_spare(data: bytes) -> bool:
    """Whether the picture is complete without its last bytes.

    Args:
        data: a WebP that can be decoded, of one picture.
    """
    place = 12
    while place + 8 <= len(data):
        name = data[place : place + 4]
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        if name in _BITSTREAMS:
            return size >= _LEAST and _decodes(name, data[place + 8 : place + 8 + size - _SPARE])
        place += 8 + size + size % 2
    return False


def _decodes(name: bytes, content: bytes) -> bool:
    """Whether a bit stream is a picture, in a file of nothing else."""
    chunk = name + len(content).to_bytes(4, "little") + content + bytes(len(content) % 2)
    file = b"RIFF" + (4 + len(chunk)).to_bytes(4, "little") + b"WEBP" + chunk
    try:
        return cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR) is not None
    except cv2.error:
        return False
