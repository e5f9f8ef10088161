"""JPEG by libjpeg-turbo, whose warnings are heard: OpenCV fills damaged places and says nothing.

The pixels are OpenCV's, to the last bit.
"""

from __future__ import annotations

import re
import struct
from functools import partial

import cv2
import numpy as np
import simplejpeg

from runtime.types import UInt8Image

# A marker with a segment behind it, or the end; not the stuffed zeros, restarts and fill bytes of
# entropy-coded data.
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
# Of cameras that write a baseline picture's spectral selection as zero; nothing is lost.
_HARMLESS = "Invalid SOS parameters"
# More scans than any encoder writes; each costs a pass over the whole picture.
MOST_SCANS = 64
MOST_SCANNED_PIXELS = 1_000_000_000


def scans_of_jpeg(data: bytes) -> int:
    """Walk the markers (T.81, B.1.1): a segment tells its length, coded data runs to the next.

    Returns:
        Number of scans up to the end; 0 where there is none.
    """
    place, scans = 2, 0
    while found := _MARKER.search(data, place):
        if found[0] == b"\xff\xd9":
            return scans
        scans += found[0] == b"\xff\xda"
        # Behind the segment, which may hold a thumbnail with markers of its own.
        place = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")
    return 0


def decode_jpeg(data: bytes) -> UInt8Image:
    """Decode a JPEG with its EXIF orientation.

    Returns:
        uint8 (H, W, 3), BGR.

    Raises:
        ValueError: it is damaged; in libjpeg's words.
    """
    return _turned(_decoded(data), orientation_of_jpeg(data))


def damage_of_jpeg(data: bytes) -> str:
    """What is wrong with a JPEG, in libjpeg's words; empty if nothing is that it knows of."""
    try:
        _decoded(data)
    except ValueError as error:
        return str(error)
    return ""


def _decoded(data: bytes) -> UInt8Image:
    decode = partial(
        simplejpeg.decode_jpeg, data, colorspace="BGR", fastdct=False, fastupsample=False
    )
    try:
        return np.asarray(decode(), dtype=np.uint8)
    except ValueError as error:
        if not str(error).startswith(_HARMLESS):
            raise
    return np.asarray(decode(strict=False), dtype=np.uint8)


def orientation_of_jpeg(data: bytes) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none or it makes no sense."""
    place = 2
    while found := _MARKER.search(data, place):
        size = int.from_bytes(data[found.end() : found.end() + 2], "big")
        body = data[found.end() + 2 : found.end() + size]
        if found[0] == b"\xff\xda":
            return 1
        if found[0] == b"\xff\xe1" and body.startswith(b"Exif\0"):
            return _exif_orientation(body[6:])
        place = found.end() + size
    return 1


def _exif_orientation(exif: bytes) -> int:
    """Tag 274 of the first directory of the TIFF that an EXIF segment is."""
    order = "<" if exif[:2] == b"II" else ">"
    try:
        (place,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, place)
        for at in range(place + 2, place + 2 + 12 * count, 12):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", exif, at)
            if tag == 274:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def _turned(image: UInt8Image, orientation: int) -> UInt8Image:
    """As it is to be seen: flips, and from 5 on a transposition before them."""
    if orientation >= 5:
        image = np.asarray(cv2.transpose(image), dtype=np.uint8)
    flip = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}.get(orientation)
    return image if flip is None else np.asarray(cv2.flip(image, flip), dtype=np.uint8)
