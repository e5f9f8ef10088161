"""From a file to the uint8 tensor that reaches the network, in training and on the edge alike.

Peers resize with antialiasing in training and without it in the exported graph, so their exported
scores differ. Here both sides call :func:`load_image`, and the graph's input is the very tensor
that training saw.
"""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path
from typing import Literal

import cv2
import imagesize
import numpy as np
import numpy.typing as npt

from runtime.bundle.manifest import DIGEST_LENGTH
from runtime.errors import EngineError, ImageError, reading, sentence
from runtime.types import UInt8Image

# A file, the bytes of one, or a decoded picture: uint8 (H, W, 3), RGB.
Source = Path | str | bytes | UInt8Image
ResizeRule = Literal["area"]
RESIZE_RULE: ResizeRule = "area"
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
# Above this a picture is no photograph of a part but a mistake, and decoding it could exhaust the
# box's memory.
MAX_PIXELS = 100_000_000
MIN_SIDE = 8
# What a file of one of the types above begins with. Everything else is refused by its content,
# whatever it is called: OpenCV would decode more, each with rules of its own.
_BEGINNINGS = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"BM",
    b"II*\x00",
    b"MM\x00*",
    b"II+\x00",
    b"MM\x00+",
)
_OTHERS = (
    (re.compile(rb"GIF8"), "a GIF"),
    (re.compile(rb".{4}ftyp(avi|mif1|hei|hev|msf)", re.DOTALL), "an AVIF or HEIC"),
    (re.compile(rb"\x00\x00\x00\x0cjP|\xff\x4f\xff\x51"), "a JPEG 2000"),
    (re.compile(rb"P[1-7fF]\s"), "a PNM"),
    (re.compile(rb"#\?R"), "a Radiance HDR"),
    (re.compile(rb"v/1\x01"), "an OpenEXR"),
    (re.compile(rb"\xff\x0a|\x00\x00\x00\x0cJXL"), "a JPEG XL"),
)
# A marker with a segment behind it, or the end; not the stuffed zeros, restarts and fill bytes of
# entropy-coded data.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")


def load_image(source: Path | bytes, size_hw: tuple[int, int]) -> UInt8Image:
    """Decode a picture and bring it to the model's size.

    Args:
        source: path of a file, or its bytes.
        size_hw: height and width of the model's input in pixels.

    Returns:
        uint8 (H, W, 3), RGB, [0, 255].

    Raises:
        ImageError: the file is missing, no picture, truncated, too small or too large.
    """
    return resize(decode_rgb(source), size_hw)


def decode_rgb(source: Path | bytes) -> UInt8Image:
    """Decode a picture: EXIF orientation applied, grey and CMYK to RGB, alpha dropped, 16 bit to 8.

    Args:
        source: path of a file, or its bytes.

    Returns:
        uint8 (H, W, 3), RGB, [0, 255], at the file's own size.

    Raises:
        ImageError: the file is missing, no picture, truncated, too small or too large.
    """
    name, data = _read(source)
    with reading(name, "a picture", ImageError, "check that the file is whole"):
        return _decoded(name, data)


def decoded(source: Source) -> UInt8Image:
    """The picture of a source, uint8 (H, W, 3), RGB, at its own size.

    Raises:
        ImageError: a file or bytes that cannot be decoded.
        EngineError: an array that is no picture.
    """
    if not isinstance(source, np.ndarray):
        return decode_rgb(Path(source) if isinstance(source, str) else source)
    if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3:
        raise EngineError(
            f"image: expected uint8 (H, W, 3), found {source.dtype} {source.shape}; "
            "convert it first"
        )
    return source


def _decoded(name: str, data: bytes) -> UInt8Image:
    if not data:
        raise ImageError(
            f"{name}: expected a picture, found an empty file; take the photograph again or "
            "delete it"
        )
    if not is_allowed(data):
        kinds = [kind for pattern, kind in _OTHERS if pattern.match(data)]
        found = kinds[0] if kinds else "something that cannot be decoded"
        raise ImageError(
            f"{name}: expected a picture (PNG, JPEG, BMP, TIFF or WebP), found {found}; check that "
            "the file is whole and of one of these types"
        )
    _check_pixels(name, *imagesize.get(io.BytesIO(data)))
    if _is_truncated(data):
        raise ImageError(
            f"{name}: expected a whole picture, found one cut off before its end; copy the file "
            "again"
        )
    decoded = _imdecode(data)
    if decoded is None:
        raise ImageError(
            f"{name}: expected a picture (PNG, JPEG, BMP, TIFF or WebP), found something that "
            "cannot be decoded; check that the file is whole and of one of these types"
        )
    image_bgr = _to_eight_bit(decoded)
    height, width = image_bgr.shape[:2]
    _check_pixels(name, width, height)
    if min(height, width) < MIN_SIDE:
        raise ImageError(
            f"{name}: expected at least {MIN_SIDE}x{MIN_SIDE} pixels, found {width}x{height}; "
            "use the camera's own picture, not a thumbnail"
        )
    return np.ascontiguousarray(image_bgr[:, :, ::-1])


def resize(image_rgb: UInt8Image, size_hw: tuple[int, int]) -> UInt8Image:
    """Resize by pixel-area averaging, which does not alias; bilinear along an axis that grows.

    Args:
        image_rgb: uint8 (H, W, 3).
        size_hw: target height and width; the aspect ratio is not kept.

    Returns:
        uint8 (height, width, 3), contiguous.
    """
    height, width = size_hw
    if image_rgb.shape[:2] == (height, width):
        return np.ascontiguousarray(image_rgb)
    # One call cannot do both: where either axis grows, OpenCV's INTER_AREA turns into a bilinear
    # that aliases the other.
    small_hw = min(image_rgb.shape[0], height), min(image_rgb.shape[1], width)
    shrunk = image_rgb
    if small_hw != image_rgb.shape[:2]:
        shrunk = cv2.resize(image_rgb, small_hw[::-1], interpolation=cv2.INTER_AREA)
    if small_hw != (height, width):
        shrunk = cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(shrunk, dtype=np.uint8)


def is_allowed(data: bytes) -> bool:
    """Whether a file's content begins as a picture of one of the types that are read."""
    return data.startswith(_BEGINNINGS) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")


def digest_of(image_rgb: UInt8Image) -> str:
    """Digest of a picture, the same whatever the file's name, format or metadata.

    Args:
        image_rgb: uint8 (H, W, 3), already at the model's size.
    """
    return hashlib.sha256(image_rgb.tobytes()).hexdigest()[:DIGEST_LENGTH]


def _read(source: Path | bytes) -> tuple[str, bytes]:
    if isinstance(source, bytes):
        return "picture", source
    try:
        return str(source), source.read_bytes()
    except OSError as error:
        raise ImageError(
            f"{source}: expected a picture, but it cannot be read ({error.strerror}); check the "
            "path"
        ) from error
    except Exception as error:  # a name that no file can have, a file larger than the memory
        raise ImageError(
            f"{source}: expected a picture, but it cannot be read ({sentence(error)}); check the "
            "path"
        ) from error


def _check_pixels(name: str, width: int, height: int) -> None:
    if width > 0 and height > 0 and width * height > MAX_PIXELS:
        raise ImageError(
            f"{name}: expected at most {MAX_PIXELS // 1_000_000} megapixels, found "
            f"{width}x{height}; crop the picture to the part or shrink it first"
        )


def _is_truncated(data: bytes) -> bool:
    """Whether a JPEG or PNG lacks its end; the decoder would fill the rest with grey, silently.

    What follows the end, as the film of a "motion photo" does, is nobody's business.
    """
    if data.startswith(b"\xff\xd8"):
        return not _jpeg_ends(data)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return not _png_ends(data)
    return False


def _jpeg_ends(data: bytes) -> bool:
    """Walk the markers (T.81, B.1.1): a segment tells its length, coded data runs to the next."""
    place = 2
    while found := _JPEG_MARKER.search(data, place):
        if found[0] == b"\xff\xd9":
            return True
        # Behind the segment, which may hold a thumbnail with markers of its own.
        place = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")
    return False


def _png_ends(data: bytes) -> bool:
    """Walk the chunks: length, name, content, checksum."""
    place = 8
    while place + 12 <= len(data):
        if data[place + 4 : place + 8] == b"IEND":
            return True
        place += 12 + int.from_bytes(data[place : place + 4], "big")
    return False


def _imdecode(data: bytes) -> npt.NDArray[np.generic] | None:
    # IMREAD_COLOR applies EXIF orientation; ANYDEPTH keeps 16 bit, which is then scaled by its own
    # range.
    try:
        decoded = cv2.imdecode(
            np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
        )
    except cv2.error:
        return None
    return None if decoded is None or decoded.size == 0 else np.asarray(decoded)


def _to_eight_bit(image: npt.NDArray[np.generic]) -> UInt8Image:
    if image.dtype == np.uint8:
        return image.astype(np.uint8, copy=False)
    if image.dtype == np.uint16:
        return np.asarray((image.astype(np.uint32) + 128) // 257, dtype=np.uint8)
    values = np.nan_to_num(image.astype(np.float32), nan=0.0, posinf=1.0, neginf=0.0)
    return np.asarray(np.clip(values, 0.0, 1.0) * 255.0 + 0.5, dtype=np.uint8)
