"""Every way in which a file may hold a picture: the pixels that Pillow and tifffile find, or a
refusal that says why. Never pixels that are wrong and silent."""

from __future__ import annotations

import io
import struct
import time
import zlib
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from runtime.errors import ImageError
from runtime.images.lzw import unpacked_length
from runtime.images.preprocess import decode_rgb
from runtime.images.tiff import directories

Pixels = npt.NDArray[np.uint8]
RNG = np.random.default_rng(0)
RGB: Pixels = np.asarray(
    Image.fromarray(RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)).resize((56, 40))
)
GRAY = RGB[:, :, 0]
GRAY_RGB = np.repeat(GRAY[:, :, None], 3, axis=2)
ALPHA = np.concatenate([RGB, RNG.integers(0, 256, (40, 56, 1), dtype=np.uint8)], axis=2)
BLACK_WHITE = GRAY > 127
BLACK_WHITE_RGB = np.repeat((BLACK_WHITE * 255).astype(np.uint8)[:, :, None], 3, axis=2)
PALETTE = Image.fromarray(RGB).quantize(16)
PALETTE_RGB = np.asarray(PALETTE.convert("RGB"))
KIND = "a TIFF of a kind that is not read"


def deep(picture: Pixels) -> npt.NDArray[np.uint16]:
    return picture.astype(np.uint16) * 257


def tif(picture: npt.NDArray[Any], **options: Any) -> bytes:
    options.setdefault("photometric", "rgb" if picture.ndim == 3 else "minisblack")
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, picture, **options)
    return buffer.getvalue()


def saved(picture: Image.Image | Pixels, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def by_pillow(data: bytes) -> Pixels:
    with Image.open(io.BytesIO(data)) as image:
        turned = ImageOps.exif_transpose(image)
        return np.asarray(turned.convert("RGB"))


# Name, file, what it is (pixels, or part of the refusal), the largest difference.
Case = tuple[str, bytes, Pixels | str, int]


def packed_tiffs() -> Iterator[Case]:
    kinds = {
        "rgb 8": (RGB, RGB),
        "rgb 16": (deep(RGB), RGB),
        "gray 8": (GRAY, GRAY_RGB),
        "gray 16": (deep(GRAY), GRAY_RGB),
    }
    for compression in (None, "lzw", "zlib", "packbits"):
        for predictor in (None, 2) if compression in ("lzw", "zlib") else (None,):
            for tile in (None, (16, 16)):
                for big in (False, True):
                    for name, (picture, expected) in kinds.items():
                        options = {"compression": compression, "predictor": predictor, "tile": tile}
                        said: Pixels | str = expected
                        if tile and not compression and "8" in name:
                            said = rf"{KIND} .*, tiles, compression none"
                        yield (
                            f"tiff {name} {compression} {predictor} {tile} big {big}",
                            tif(picture, bigtiff=big, **options),
                            said,
                            0,
                        )


def other_tiffs() -> Iterator[Case]:
    planes = RGB.transpose(2, 0, 1)
    yield "tiff planes 8", tif(planes, planarconfig="separate"), RGB, 0
    yield "tiff planes 16", tif(deep(planes), planarconfig="separate"), f"{KIND}.*planes", 0
    yield "tiff white is zero 8", tif(GRAY, photometric="miniswhite"), 255 - GRAY_RGB, 0
    yield "tiff white is zero 16", tif(deep(GRAY), photometric="miniswhite"), "white is zero", 0
    for compression in (None, "lzw"):
        predictor = 2 if compression else None
        options = {"byteorder": ">", "compression": compression, "predictor": predictor}
        yield f"tiff big-endian 16 {compression}", tif(deep(RGB), **options), RGB, 0
    for alpha in ("unassalpha", "assocalpha", "unspecified"):
        said: Pixels | str = f"{KIND}.*4 x 8 bit" if alpha == "unassalpha" else RGB
        yield f"tiff rgba 8 {alpha}", tif(ALPHA, extrasamples=[alpha]), said, 0
        yield f"tiff rgba 16 {alpha}", tif(deep(ALPHA), extrasamples=[alpha]), RGB, 0
    five = np.concatenate([ALPHA, ALPHA[:, :, 3:]], axis=2)
    yield "tiff 5 samples", tif(five, extrasamples=["unassalpha", "unspecified"]), "5 x 8 bit", 0
    yield "tiff float to 1", tif((RGB / 255).astype(np.float32)), RGB, 0
    yield "tiff float64 to 1", tif(RGB / 255.0), RGB, 0
    yield "tiff float to 255", tif(RGB.astype(np.float32)), "found 0 to 255", 0
    yield "tiff float NaN", tif(np.full(RGB.shape, np.nan, np.float32)), "found nan", 0
    yield "tiff float gray", tif((GRAY / 255).astype(np.float32)), "32 bit floating-point, gray", 0
    yield "tiff float16", tif((RGB / 255).astype(np.float16)), "16 bit floating-point", 0
    for kind in (np.int8, np.int16, np.int32):
        for picture in (RGB, GRAY):
            said = f"{np.dtype(kind).itemsize * 8} bit signed"
            yield f"tiff {np.dtype(kind)} {picture.ndim}", tif((picture // 2).astype(kind)), said, 0
    for kind in (np.uint32, np.uint64):
        for picture in (RGB, GRAY):
            said = f"{np.dtype(kind).itemsize * 8} bit unsigned"
            yield f"tiff {np.dtype(kind)} {picture.ndim}", tif(picture.astype(kind)), said, 0
    for bits in (10, 12):
        in_16 = GRAY.astype(np.uint16) << (bits - 8)
        expected = np.repeat(((in_16.astype(int) + 128) // 257)[:, :, None], 3, axis=2)
        yield f"tiff {bits} in 16", tif(in_16), expected.astype(np.uint8), 0
    yield (
        "tiff two pages",
        saved(RGB, "TIFF", save_all=True, append_images=[PALETTE]),
        ("a TIFF of 2 pictures"),
        0,
    )
    yield "tiff with a thumbnail", tif_with_thumbnail(), RGB, 0


def tif_with_thumbnail() -> bytes:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(RGB, photometric="rgb")
        writer.write(RGB[::4, ::4], photometric="rgb", subfiletype=1)
    return buffer.getvalue()


def tiffs_of_pillow() -> Iterator[Case]:
    for compression in ("group3", "group4", "raw", "tiff_lzw"):
        data = saved(Image.fromarray(BLACK_WHITE), "TIFF", compression=compression)
        yield f"tiff 1 bit {compression}", data, BLACK_WHITE_RGB, 0
    yield "tiff palette", saved(PALETTE, "TIFF"), PALETTE_RGB, 0
    for mode, tolerance in (("CMYK", 2), ("YCbCr", 3)):
        picture = Image.fromarray(RGB).convert(mode)
        yield f"tiff {mode}", saved(picture, "TIFF"), np.asarray(picture.convert("RGB")), tolerance
    yield "tiff lab", saved(Image.fromarray(RGB).convert("LAB"), "TIFF"), "photometric 8", 0
    for picture in (RGB, GRAY):
        data = saved(picture, "TIFF", compression="jpeg", quality=95)
        yield f"tiff jpeg {picture.ndim}", data, by_pillow(data), 4
    for compression, number in (("zstd", 50000), ("lzma", 34925)):
        data = saved(RGB, "TIFF", compression=compression)
        yield f"tiff {compression}", data, f"compression number {number}", 0


def turned() -> Iterator[Case]:
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        for kind in ("TIFF", "PNG", "WEBP", "JPEG"):
            options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 98}}.get(kind, {})
            data = saved(RGB, kind, exif=exif, **options)
            yield f"{kind} turned {orientation}", data, by_pillow(data), 4 * (kind == "JPEG")
        # A camera's byte order.
        data = tif(deep(RGB), extratags=[(274, 3, 1, orientation, True)], compression="lzw")
        yield f"tiff 16 turned {orientation}", data, by_pillow(saved(RGB, "TIFF", exif=exif)), 0


def jpegs() -> Iterator[Case]:
    for subsampling in (0, 1, 2, "4:1:1"):
        for progressive in (False, True):
            options = {"subsampling": subsampling, "progressive": progressive, "quality": 90}
            data = saved(RGB, "JPEG", **options)
            yield f"jpeg {subsampling} {progressive}", data, by_pillow(data), 4
    for mode in ("CMYK", "L"):
        data = saved(Image.fromarray(RGB).convert(mode), "JPEG", quality=95)
        yield f"jpeg {mode}", data, by_pillow(data), 4
    data = saved(RGB, "JPEG", quality=95, keep_rgb=True)
    yield "jpeg Adobe, not transformed", data, by_pillow(data), 4
    data = saved(RGB, "MPO", save_all=True, append_images=[PALETTE.convert("RGB")], quality=95)
    yield "jpeg with a second picture behind it", data, by_pillow(data), 4


def others() -> Iterator[Case]:
    more = {"save_all": True, "append_images": [Image.fromarray(RGB[::-1])]}
    yield "png animated", saved(RGB, "PNG", **more), "an animated PNG of 2", 0
    yield "webp animated", saved(RGB, "WEBP", **more, lossless=True), "an animated WebP of 2", 0
    yield "webp alpha", saved(ALPHA, "WEBP", lossless=True, exact=True), RGB, 0
    yield "png alpha", saved(ALPHA, "PNG"), RGB, 0
    yield "png gray alpha", saved(ALPHA[:, :, [0, 3]], "PNG"), GRAY_RGB, 0
    yield "png gray 16", saved(Image.fromarray(deep(GRAY)), "PNG"), GRAY_RGB, 0
    yield "png transparent color", saved(RGB, "PNG", transparency=(1, 2, 3)), RGB, 0
    yield "png 4 bit palette", saved(PALETTE, "PNG", bits=4), PALETTE_RGB, 0
    yield "png alpha 16", cv2.imencode(".png", deep(ALPHA[:, :, [2, 1, 0, 3]]))[1].tobytes(), RGB, 0
    yield "png interlaced", interlaced(), GRAY_RGB, 0
    for kind in ("PNG", "BMP"):
        yield f"{kind} 1 bit", saved(Image.fromarray(BLACK_WHITE), kind), BLACK_WHITE_RGB, 0
        yield f"{kind} palette", saved(PALETTE, kind), PALETTE_RGB, 0
        yield f"{kind} gray", saved(GRAY, kind), GRAY_RGB, 0
    yield "bmp alpha", saved(ALPHA, "BMP"), RGB, 0


def chunked(*chunks: tuple[bytes, bytes]) -> bytes:
    out = b"\x89PNG\r\n\x1a\n"
    for name, data in chunks:
        checksum = struct.pack(">I", zlib.crc32(name + data))
        out += struct.pack(">I", len(data)) + name + data + checksum
    return out


def interlaced() -> bytes:
    """Adam7: no library here writes it."""
    rows = b""
    for top, left, down, right in (
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    ):
        rows += b"".join(b"\0" + row.tobytes() for row in GRAY[top::down, left::right])
    header = struct.pack(">IIBBBBB", 56, 40, 8, 0, 0, 0, 1)
    return chunked((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))


CASES = [
    case
    for made in (packed_tiffs, other_tiffs, tiffs_of_pillow, turned, jpegs, others)
    for case in made()
]


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_pixels_are_right_or_refused_with_the_reason(case: Case, capfd: Any) -> None:
    _, data, expected, tolerance = case
    if isinstance(expected, str):
        with pytest.raises(ImageError, match=expected) as caught:
            decode_rgb(data)
        assert ";" in str(caught.value), "what to do"
    else:
        found = decode_rgb(data)
        assert found.shape == expected.shape
        assert np.abs(found.astype(int) - expected).max() <= tolerance
    assert capfd.readouterr().err == "", "no library's own lines"


def flood(kind: str) -> bytes:
    """Small files that would cost much time or memory."""
    if kind == "webp":
        # A lossless one of 16,383 x 6,100 pixels of one color.
        bits = (16383 - 1) | (6100 - 1) << 14
        content = b"VP8L" + struct.pack("<I", 18) + b"\x2f" + struct.pack("<I", bits) + b"\0" * 13
        return b"RIFF" + struct.pack("<I", 4 + len(content)) + b"WEBP" + content
    if kind == "png":
        header = struct.pack(">IIBBBBB", 10000, 10000, 16, 2, 0, 0, 0)
        return chunked((b"IHDR", header), (b"IDAT", bytes(560_000)), (b"IEND", b""))
    if kind == "scans":
        whole = saved(RGB, "JPEG", progressive=True)
        last = whole.rindex(b"\xff\xda")
        return whole[:-2] + whole[last:-2] * 600 + b"\xff\xd9"
    content = bytearray(tif(RGB))
    if kind == "twice":
        # The width's tag once more in the place of the height's.
        return bytes(content.replace(struct.pack("<HH", 257, 4), struct.pack("<HH", 256, 4)))
    # Its directory follows itself.
    end = struct.unpack_from("<I", content, 4)[0]
    count = struct.unpack_from("<H", content, end)[0]
    struct.pack_into("<I", content, end + 2 + 12 * count, end)
    return bytes(content)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("webp", "16383x6100 pixels in 38 bytes, which no camera makes"),
        ("png", "10000x10000 pixels in .* bytes, which no camera makes"),
        ("scans", r"found 6\d\d of"),
        ("twice", "tag 256 stands twice"),
        ("circle", "directories never end"),
    ],
)
def test_what_would_cost_much_is_refused_before_it_is_decoded(kind: str, message: str) -> None:
    data = flood(kind)
    before = time.process_time()
    with pytest.raises(ImageError, match=message):
        decode_rgb(data)
    assert time.process_time() - before < 0.5


def damaged(data: bytes, seed: int) -> bytes:
    """A bit flipped, or 4 KiB set to zero, behind the header."""
    at = int(np.random.default_rng(seed).integers(400, len(data) - 40))
    found = bytearray(data)
    if seed % 2:
        found[at] ^= 1 << seed % 8
    else:
        found[at : at + 4096] = bytes(min(4096, len(data) - at))
    return bytes(found)


def is_badly_wrong(found: Pixels, right: Pixels) -> bool:
    """Whether more than 16 blocks of 8 x 8 pixels' worth lies beyond 16 gray levels."""
    differs = np.abs(found.astype(int) - right).max(axis=2) > 16
    return bool(differs.sum() > 16 * 64)


LARGE: Pixels = np.asarray(
    Image.fromarray(RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)).resize((240, 160))
)
# How many of 30 files with a flipped bit, and of 30 with 4 KiB of zeros inside, may be read with
# badly wrong pixels.
# JPEG and WebP have no checksum: what is decoded otherwise and ends where it should is not told.
TOLD = {
    "PNG": (saved(LARGE, "PNG"), (0, 0)),
    "TIFF Deflate": (tif(LARGE, compression="zlib"), (0, 0)),
    "TIFF JPEG": (saved(LARGE, "TIFF", compression="jpeg", quality=90), (2, 0)),
    "TIFF LZW": (tif(LARGE, compression="lzw"), (0, 0)),
    "TIFF LZW, differences": (tif(LARGE, compression="lzw", predictor=2), (0, 0)),
    "WebP": (saved(LARGE, "WEBP", quality=90), (6, 0)),
    "WebP lossless": (saved(LARGE, "WEBP", lossless=True), (20, 0)),
    "TIFF none": (tif(LARGE), (0, 30)),
    "BMP": (saved(LARGE, "BMP"), (0, 30)),
    "JPEG": (saved(LARGE, "JPEG", quality=90), (2, 0)),
    "JPEG progressive": (saved(LARGE, "JPEG", quality=90, progressive=True), (2, 0)),
}


@pytest.mark.parametrize("kind", TOLD)
def test_damage_is_told(kind: str) -> None:
    data, allowed = TOLD[kind]
    right, wrong = decode_rgb(data), [0, 0]
    for seed in range(60):
        try:
            found = decode_rgb(damaged(data, seed))
        except ImageError:
            continue
        wrong[1 - seed % 2] += found.shape != right.shape or is_badly_wrong(found, right)
    assert tuple(np.minimum(wrong, allowed)) == tuple(wrong)


def test_the_decoder_of_jpegs_finds_opencvs_pixels() -> None:
    """To the last bit: training's digests of pictures stay what they were."""
    for quality in (40, 75, 95):
        for progressive in (False, True):
            data = saved(LARGE, "JPEG", quality=quality, progressive=progressive)
            expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            np.testing.assert_array_equal(decode_rgb(data), expected[:, :, ::-1])


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("kind", ["flat", "noise", "smooth", "spot at the end"])
def test_a_whole_webp_needs_all_of_its_bytes(kind: str, *, lossless: bool) -> None:
    """Else it would be taken for a damaged one."""
    image = np.full((70, 90, 3), 120, np.uint8)
    if kind == "noise":
        image = RNG.integers(0, 256, image.shape, dtype=np.uint8)
    if kind == "smooth":
        image = LARGE[:70, :90]
    if kind == "spot at the end":
        image[-1, -1] = 255
    for quality in (5, 60, 100):
        for method in (0, 4):
            data = saved(image, "WEBP", quality=quality, method=method, lossless=lossless)
            assert decode_rgb(data).shape == image.shape


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.integers(1, 90), st.integers(1, 90), st.sampled_from([1, 2, 256]))
def test_an_lzw_piece_is_measured_right(seed: int, high: int, wide: int, colors: int) -> None:
    image = np.random.default_rng(seed).integers(0, colors, (high, wide), dtype=np.uint8)
    (page,) = directories(data := tif(image, compression="lzw"))
    (start,), (size,) = page.tags[273], page.tags[279]
    assert unpacked_length(data[start : start + size]) == high * wide
    # The last byte may hold nothing but padding.
    assert unpacked_length(data[start : start + size - 2]) == -1


@settings(max_examples=50)
@given(st.binary(max_size=2000))
def test_nothing_that_looks_like_lzw_ends_in_an_error(data: bytes) -> None:
    found = unpacked_length(data)
    assert found is None or found >= -1
