"""What a picture's file says of itself, looked at before a decoder spends time and memory on it."""

from __future__ import annotations

import io
import re
import zlib

import imagesize

from runtime.images.jpeg import MOST_SCANNED_PIXELS, MOST_SCANS, scans_of_jpeg
from runtime.images.tiff import problem_of_tiff

# Above this a picture is no photograph of a part but a mistake, and decoding it could exhaust the
# box's memory.
MAX_PIXELS = 100_000_000
# A large picture of fewer bytes is no photograph, whose noise alone takes more: a decompression
# bomb, or one color.
FEW_PIXELS = 16_000_000
MAX_PIXELS_PER_BYTE = 128
# What a file of one of the types that are read begins with. Everything else is refused by its
# content, whatever it is called: OpenCV would decode more, each with rules of its own.
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_BEGINNINGS = (_PNG, _JPEG, b"BM", *_TIFF)
_OTHERS = (
    (re.compile(rb"GIF8"), "a GIF"),
    (re.compile(rb".{4}ftyp(avi|mif1|hei|hev|msf)", re.DOTALL), "an AVIF or HEIC"),
    (re.compile(rb"\x00\x00\x00\x0cjP|\xff\x4f\xff\x51"), "a JPEG 2000"),
    (re.compile(rb"P[1-7fF]\s"), "a PNM"),
    (re.compile(rb"#\?R"), "a Radiance HDR"),
    (re.compile(rb"v/1\x01"), "an OpenEXR"),
    (re.compile(rb"\xff\x0a|\x00\x00\x00\x0cJXL"), "a JPEG XL"),
)
_CUT_OFF = "expected a whole picture, found one cut off before its end; copy the file again"
_DAMAGED = (
    "expected a whole picture, found one whose checksum is wrong and that cannot be decoded; copy "
    "the file again"
)
_ONE_PICTURE = "expected one picture in a file, found {}; save each as a file of its own"
_KINDS = "expected a picture (PNG, JPEG, BMP, TIFF or WebP), found {}; "
WHOLE_AND_OF_A_TYPE = "check that the file is whole and of one of these types"
_AS_PNG = "save the picture as PNG, 8 or 16 bit, gray or RGB"


def is_allowed(data: bytes) -> bool:
    """Whether a file's content begins as a picture of one of the types that are read."""
    return data.startswith(_BEGINNINGS) or is_webp(data)


def is_jpeg(data: bytes) -> bool:
    """Whether a file's content begins as a JPEG."""
    return data.startswith(_JPEG)


def problem_of_file(data: bytes) -> str:
    """Why a picture is not decoded: expected, found, what to do; empty if it is.

    Args:
        data: the whole file.
    """
    if not data:
        return (
            "expected a picture, found an empty file; take the photograph again or delete the file"
        )
    if not is_allowed(data):
        kinds = [kind for pattern, kind in _OTHERS if pattern.match(data)]
        found = kinds[0] if kinds else "something that cannot be decoded"
        return _KINDS.format(found) + WHOLE_AND_OF_A_TYPE
    if data.startswith(_TIFF):
        return _problem_of_tiff(data)
    width, height = imagesize.get(io.BytesIO(data))
    return problem_of_size(width, height, len(data)) or _problem_inside(data, width * height)


def _problem_inside(data: bytes, pixels: int) -> str:
    if is_jpeg(data):
        return _problem_of_jpeg(data, pixels)
    if data.startswith(_PNG):
        return _problem_of_png(data)
    if is_webp(data):
        return _problem_of_webp(data)
    # Of a BMP its header says how long it is; some writers leave it at zero.
    return _CUT_OFF if len(data) < int.from_bytes(data[2:6], "little") else ""


def undecodable(data: bytes) -> str:
    """The sentence for a file that the decoder gave back, with what it says of itself."""
    found = "something that cannot be decoded"
    if data.startswith(_TIFF) and (page := problem_of_tiff(data)[1]) is not None:
        found = f"a TIFF that cannot be decoded ({page.kind()})"
    return _KINDS.format(found) + WHOLE_AND_OF_A_TYPE


def problem_of_size(width: int, height: int, length: int = 0) -> str:
    """Why a picture of this size is not decoded; empty if it is.

    Args:
        width: in pixels; where it is not known, below 1.
        height: in pixels.
        length: of the file in bytes; 0 where it says nothing.
    """
    if width < 1 or height < 1:
        return ""
    if width * height > MAX_PIXELS:
        return (
            f"expected at most {MAX_PIXELS // 1_000_000} megapixels, found {width}x{height}; crop "
            "the picture to the part or shrink it first"
        )
    if length and width * height > max(FEW_PIXELS, MAX_PIXELS_PER_BYTE * length):
        return (
            f"expected a photograph, found {width}x{height} pixels in {length} bytes, which no "
            "camera makes; check where the file comes from"
        )
    return ""


def _problem_of_tiff(data: bytes) -> str:
    found, page = problem_of_tiff(data)
    # A huge picture is told as such, whatever else is wrong with it.
    large = "" if page is None or page.twice else problem_of_size(*page.wide_high, len(data))
    if large or not found:
        return large
    if found.endswith(" pictures"):
        return _ONE_PICTURE.format(found)
    todo = WHOLE_AND_OF_A_TYPE if "cut off" in found or "damaged" in found else _AS_PNG
    return _KINDS.format(found) + todo


def _problem_of_jpeg(data: bytes, pixels: int) -> str:
    scans = scans_of_jpeg(data)
    if not scans:
        return _CUT_OFF
    if scans > MOST_SCANS or scans * pixels > MOST_SCANNED_PIXELS:
        return (
            f"expected a JPEG of a few scans, found {scans} of {pixels / 1e6:.3g} megapixels, "
            "which would take long to decode; save the picture again as a baseline JPEG or PNG"
        )
    return ""


def _problem_of_png(data: bytes) -> str:
    """Walk the chunks: length, name, content, checksum.

    What follows the end, as the film of a "motion photo" does, is nobody's business.
    """
    place = 8
    while place + 12 <= len(data):
        name = data[place + 4 : place + 8]
        end = place + 8 + int.from_bytes(data[place : place + 4], "big")
        if zlib.crc32(data[place + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            return _CUT_OFF if end + 4 > len(data) else _DAMAGED
        if name == b"IEND":
            return ""
        if name == b"acTL":
            count = int.from_bytes(data[place + 8 : place + 12], "big")
            return _ONE_PICTURE.format(f"an animated PNG of {count}")
        place = end + 4
    return _CUT_OFF


def is_webp(data: bytes) -> bool:
    """Whether a file's content begins as a WebP."""
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def _problem_of_webp(data: bytes) -> str:
    if len(data) < 8 + int.from_bytes(data[4:8], "little"):
        return _CUT_OFF
    if data[12:16] == b"VP8X" and data[20] & 0b10:
        return _ONE_PICTURE.format(f"an animated WebP of {max(data.count(b'ANMF'), 1)}")
    return ""
