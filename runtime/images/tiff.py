"""What a TIFF says of itself, before anything is decoded: what is read as written, or its refusal.

OpenCV decodes more kinds than it decodes rightly: 16 bits in planes, white as zero, numbers with a
sign, several pages. Each kind read here is compared with Pillow and tifffile in the tests.

Source:
    TIFF Revision 6.0, Adobe, 1992; BigTIFF, https://www.awaresystems.be/imaging/tiff/bigtiff.html.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import numpy as np

from runtime.images.jpeg import damage_of_jpeg
from runtime.images.lzw import MOST_BYTES, MOST_PIECES, unpacked_length

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_SIZES |= {16: 8, 17: 8, 18: 8}
_WHOLE = {1: "B", 3: "H", 4: "I", 7: "B", 13: "I", 16: "Q", 18: "Q"}
# Thumbnails and masks beside the picture are none of its pages (tag 254, bits 0 and 2).
_BESIDE = 0b101
_MOST_DIRECTORIES = 1000
_MOST_ENTRIES = 4096

_COMPRESSIONS = {
    1: "none",
    2: "CCITT",
    3: "CCITT group 3",
    4: "CCITT group 4",
    5: "LZW",
    7: "JPEG",
    8: "Deflate",
    32773: "PackBits",
    32946: "Deflate",
}
_PHOTOMETRICS = {
    0: "white is zero",
    1: "gray",
    2: "RGB",
    3: "palette",
    5: "CMYK",
    6: "YCbCr",
}
_FORMATS = {2: "signed", 3: "floating-point", 5: "complex whole", 6: "complex"}
_DEFLATE = (8, 32946)

Tags = dict[int, tuple[int, ...]]


@dataclass(frozen=True)
class Directory:
    """One of a TIFF's pictures.

    Attributes:
        tags: the whole numbers of each tag, by the tag's number.
        twice: a tag that stands more than once, or 0.
    """

    tags: Tags
    twice: int = 0

    def first(self, tag: int, default: int) -> int:
        """A tag's first value."""
        return self.tags.get(tag, (default,))[0]

    @property
    def wide_high(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.first(256, 0), self.first(257, 0)

    @property
    def is_float(self) -> bool:
        """Whether its values are floating-point numbers."""
        return self.first(339, 1) == 3

    def kind(self) -> str:
        """In words, for messages."""
        bits = "/".join(map(str, dict.fromkeys(self.tags.get(258, (1,)))))
        sign = _FORMATS.get(self.first(339, 1), "unsigned")
        color = _PHOTOMETRICS.get(self.first(262, 1), f"photometric {self.first(262, 1)}")
        packed = _COMPRESSIONS.get(self.first(259, 1), f"number {self.first(259, 1)}")
        shape = "tiles" if 322 in self.tags else "strips"
        planes = " of separate planes" if self.first(284, 1) == 2 else ""
        return (
            f"{self.first(277, 1)} x {bits} bit {sign}, {color}, {shape}{planes}, "
            f"compression {packed}"
        )


def directories(data: bytes) -> list[Directory]:
    """The pictures in a TIFF, or in the TIFF that an EXIF segment holds.

    Raises:
        ValueError: it is damaged or goes round in a circle; in words.
    """
    if len(data) < 16:
        raise ValueError("one cut off in its header")
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(f"{order}H", data, 2)[0] == 43
    place = struct.unpack_from(f"{order}Q" if big else f"{order}I", data, 8 if big else 4)[0]
    found: list[Directory] = []
    seen = set()
    while place:
        if place in seen or len(found) >= _MOST_DIRECTORIES:
            raise ValueError("one whose directories never end")
        seen.add(place)
        try:
            one, place = _directory(data, place, order, big=big)
        except struct.error:
            raise ValueError("one cut off before its end") from None
        found.append(one)
    return found


def _directory(data: bytes, place: int, order: str, *, big: bool) -> tuple[Directory, int]:
    offset, head = ("Q", 8) if big else ("I", 4)
    (count,) = struct.unpack_from(f"{order}{'Q' if big else 'H'}", data, place)
    if count > _MOST_ENTRIES:
        raise ValueError(f"one with {count} entries in a directory")
    place += 8 if big else 2
    tags: Tags = {}
    twice = 0
    for _ in range(count):
        tag, kind, number = struct.unpack_from(f"{order}HH{offset}", data, place)
        value, place = place + 4 + head, place + 4 + 2 * head
        twice = tag if tag in tags else twice
        tags[tag] = ()
        if kind not in _WHOLE:
            continue
        size = number * _SIZES[kind]
        if size > head:
            (value,) = struct.unpack_from(f"{order}{offset}", data, value)
        if value + size > len(data):
            raise ValueError("one cut off before its end")
        tags[tag] = struct.unpack_from(f"{order}{number}{_WHOLE[kind]}", data, value)
    (following,) = struct.unpack_from(f"{order}{offset}", data, place)
    return Directory({tag: values for tag, values in tags.items() if values}, twice), following


def problem_of_tiff(data: bytes) -> tuple[str, Directory | None]:
    """Why a TIFF is not read, in words that follow "found"; empty if it is; and its picture."""
    try:
        found = directories(data)
    except ValueError as error:
        return str(error), None
    pages = [one for one in found if not one.first(254, 0) & _BESIDE]
    if len(pages) > 1:
        return f"a TIFF of {len(pages)} pictures", None
    if not found or pages[:1] != found[:1]:
        return "a TIFF without a picture", None
    page = found[0]
    why = _not_read(page)
    if not why:
        why = _damage(data, page)
    return why, page


def _not_read(page: Directory) -> str:
    """Kinds that are not read, or not read rightly."""
    width, height = page.wide_high
    if page.twice:
        return f"a TIFF in which tag {page.twice} stands twice"
    if width < 1 or height < 1:
        return "a TIFF without a size"
    kind = f"a TIFF of a kind that is not read ({page.kind()})"
    bits, samples, color = page.tags.get(258, (1,)), page.first(277, 1), page.first(262, 1)
    formats = set(page.tags.get(339, (1,)))
    wrong = (
        len(set(bits)) > 1
        or samples > 4
        or bits[0] not in ((32, 64) if page.is_float else (1, 8, 16))
        or formats not in ({1}, {3})
        or color not in _PHOTOMETRICS
        or page.first(259, 1) not in _COMPRESSIONS
        or page.first(266, 1) != 1
        or page.first(284, 1) not in (1, 2)
        # Read wrongly by OpenCV 5.0 and before.
        or (bits[0] == 16 and (color == 0 or (page.first(284, 1) == 2 and samples > 1)))
        or (bits[0] == 1 and (color > 1 or samples > 1))
        or (page.is_float and (samples != 3 or color != 2 or page.first(284, 1) != 1))
        or _multiplies_alpha(page)
    )
    return kind if wrong or _has_small_tiles(page) else ""


def _has_small_tiles(page: Directory) -> bool:
    """Tiles of 8 bit that are not packed, of which OpenCV expects another size."""
    return page.first(258, 1) <= 8 and page.first(259, 1) == 1 and 322 in page.tags


def _multiplies_alpha(page: Directory) -> bool:
    """Whether colors would come out multiplied by how opaque they are."""
    return page.first(258, 1) == 8 and page.first(262, 1) == 2 and 2 in page.tags.get(338, ())


def _damage(data: bytes, page: Directory) -> str:
    """What libtiff would pass over: pieces that are missing, cut off or unlike their checksum."""
    offsets, counts = (
        page.tags.get(324, page.tags.get(273, ())),
        page.tags.get(325, page.tags.get(279, ())),
    )
    expected, piece = _pieces(page)
    if expected < 1 or len(offsets) != expected or len(counts) != expected:
        return f"a TIFF with {len(offsets)} pieces where its size asks for {max(expected, 0)}"
    ends = np.array(offsets, np.float64) + np.array(counts, np.float64)
    if ends.max() > len(data) or min(counts) < 1:
        return "a TIFF cut off before its end"
    return _damage_inside(data, page, list(zip(offsets, counts, strict=True)), piece)


def _damage_inside(data: bytes, page: Directory, pieces: list[tuple[int, int]], whole: int) -> str:
    """The same of pieces that are all there; by what they are packed with."""
    packed = page.first(259, 1)
    held = sum(size for _, size in pieces)
    if packed == 1 and held < page.wide_high[1] * _row_bytes(page, page.wide_high[0]):
        return "a TIFF with less in it than its size asks for"
    if packed == 5 and _is_odd_lzw(data, page, pieces):
        return "a damaged TIFF (a piece holds more or less than its size asks for)"
    tables = bytes(page.tags[347]) if 347 in page.tags else b""
    for start, size in pieces:
        content = data[start : start + size]
        if packed in _DEFLATE and not _inflates(content, whole):
            return "a damaged TIFF (a piece does not go with its checksum)"
        if packed == 7 and (why := damage_of_jpeg(tables[:-2] + content[2 if tables else 0 :])):
            return f"a damaged TIFF ({why})"
    return ""


def _is_odd_lzw(data: bytes, page: Directory, pieces: list[tuple[int, int]]) -> bool:
    """Whether a piece packed with LZW is of another size than it should be."""
    if len(pieces) > MOST_PIECES or sum(size for _, size in pieces) > MOST_BYTES:
        return False
    count, whole = _pieces(page)
    planes = page.first(277, 1) if page.first(284, 1) == 2 else 1
    high = page.wide_high[1]
    # The last strip holds what is left; some writers fill it up.
    left = high % min(max(page.first(278, high), 1), high) if 322 not in page.tags else 0
    last = left * _row_bytes(page, page.wide_high[0]) or whole
    for index, (start, size) in enumerate(pieces):
        allowed = {whole, last if (index + 1) % (count // planes) == 0 else whole, None}
        # Of YCbCr nobody has said how many pixels share a color.
        if page.first(262, 1) != 6 and unpacked_length(data[start : start + size]) not in allowed:
            return True
    return False


def _pieces(page: Directory) -> tuple[int, int]:
    """How many strips or tiles the size asks for, and the bytes of one, unpacked, at most."""
    width, height = page.wide_high
    if 322 in page.tags or 323 in page.tags:
        wide, high = page.first(322, 0), page.first(323, 0)
        # A tile may reach beyond the picture, by less than its own side.
        if not (16 <= wide <= max(width, 16) + 4096 and 16 <= high <= max(height, 16) + 4096):
            return 0, 0
    else:
        wide, high = width, min(max(page.first(278, height), 1), height)
    count = -(-width // wide) * -(-height // high)
    planes = page.first(277, 1) if page.first(284, 1) == 2 else 1
    return count * planes, high * _row_bytes(page, wide)


def _row_bytes(page: Directory, width: int) -> int:
    samples = 1 if page.first(284, 1) == 2 else page.first(277, 1)
    bits = width * samples * page.first(258, 1)
    if page.first(262, 1) == 6:
        # Its colors may stand for four pixels each.
        bits //= 2
    return -(-bits // 8)


def _inflates(content: bytes, size: int) -> bool:
    """Whether a deflated piece is whole and goes with its checksum, within its size."""
    inflating = zlib.decompressobj()
    try:
        # With YCbCr a piece may be twice what was asked for.
        inflating.decompress(content, 2 * size + 1024)
    except zlib.error:
        return False
    return inflating.eof
