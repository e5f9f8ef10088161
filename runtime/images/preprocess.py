"""From a file to the uint8 tensor that reaches the network, in training and on the edge alike.

Peers resize with antialiasing in training and without it in the exported graph, so their exported
scores differ. Here both sides call :func:`load_image`, and the graph's input is the very tensor
that training saw.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from runtime.bundle.manifest import DIGEST_LENGTH
from runtime.errors import EngineError, ImageError, reading, sentence
from runtime.images.containers import (
    is_jpeg,
    is_webp,
    problem_of_file,
    problem_of_size,
    undecodable,
)
from runtime.images.jpeg import decode_jpeg
from runtime.images.webp import has_bytes_to_spare
from runtime.types import UInt8Image

# A file, the bytes of one, or a decoded picture: uint8 (H, W, 3), RGB.
Source = Path | str | bytes | UInt8Image
ResizeRule = Literal["area"]
RESIZE_RULE: ResizeRule = "area"
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
MIN_SIDE = 8
# What a decoder complains of is said in our own words.
if "OPENCV_LOG_LEVEL" not in os.environ:
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


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
    if why := problem_of_file(data):
        raise ImageError(f"{name}: {why}")
    try:
        decoded = decode_jpeg(data) if is_jpeg(data) else None
    except ValueError as error:
        raise ImageError(
            f"{name}: expected a whole JPEG, found a damaged one ({error}); copy the file again"
        ) from error
    image = _imdecode(data) if decoded is None else decoded
    if image is None:
        raise ImageError(f"{name}: {undecodable(data)}")
    if is_webp(data) and has_bytes_to_spare(data):
        raise ImageError(
            f"{name}: expected a whole WebP, found a damaged one (its picture ends before its "
            "data); copy the file again"
        )
    image_bgr = _to_eight_bit(name, image)
    height, width = image_bgr.shape[:2]
    if why := problem_of_size(width, height):
        raise ImageError(f"{name}: {why}")
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
        mode = source.stat().st_mode
        endless = not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
        data = b"" if endless else source.read_bytes()
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
    if endless:
        raise ImageError(f"{source}: expected a picture, found a device or pipe; check the path")
    return str(source), data


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


def _to_eight_bit(name: str, image: npt.NDArray[np.generic]) -> UInt8Image:
    if image.dtype == np.uint8:
        return image.astype(np.uint8, copy=False)
    if image.dtype == np.uint16:
        return _in_stripes(image, lambda rows: (rows.astype(np.uint32) + 128) // 257)
    values = image.astype(np.float32)
    low, high = float(values.min()), float(values.max())
    if not (low >= 0.0 and high <= 1.0):
        raise ImageError(
            f"{name}: expected floating-point values from 0 to 1, found {low:g} to {high:g}; save "
            "the picture as PNG, 8 or 16 bit"
        )
    return _in_stripes(values, lambda rows: np.multiply(rows, 255.0) + 0.5)


def _in_stripes(
    image: npt.NDArray[np.generic],
    scaled: Callable[[npt.NDArray[Any]], npt.NDArray[Any]],
) -> UInt8Image:
    """Scaled to 8 bit some rows at a time: a large picture's copies would take gigabytes."""
    found = np.empty(image.shape, np.uint8)
    for at in range(0, len(image), 256):
        found[at : at + 256] = scaled(image[at : at + 256])
    return found
