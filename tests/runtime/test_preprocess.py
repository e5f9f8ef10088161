"""From bytes to the tensor: every picture a box may meet, and everything that is none."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from runtime.errors import ImageError
from runtime.images.containers import MAX_PIXELS
from runtime.images.preprocess import MIN_SIDE, decode_rgb, load_image, resize

# Pillow writes the pictures, so that OpenCV is not checked against itself.
RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (40, 56, 3), dtype=np.uint8)
SMOOTH = np.asarray(
    Image.fromarray(RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)).resize((56, 40))
)
FORMATS = ["PNG", "JPEG", "BMP", "TIFF", "WEBP"]
MAGIC = [
    b"",
    b"\x89PNG\r\n\x1a\n",
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    b"\xff\xd8",
    b"\xff\xd8\xff\xe0\0\x10JFIF\0",
    b"BM",
    b"II*\0",
    b"MM\0*",
    b"RIFF\x40\0\0\0WEBPVP8 ",
    b"GIF89a",
    b"P6\n9 9\n255\n",
    b"<svg",
]


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that declares a size and holds almost no pixels: a few bytes that would cost
    gigabytes."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0" * 64)),
        (b"IEND", b""),
    ]
    out = b"\x89PNG\r\n\x1a\n"
    for name, data in chunks:
        out += (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )
    return out


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_a_lossless_picture_is_decoded_exactly_in_rgb_order(kind: str) -> None:
    decoded = decode_rgb(encode(Image.fromarray(NOISE), kind))
    assert decoded.dtype == np.uint8
    assert decoded.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(decoded, NOISE)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_a_lossy_picture_agrees_with_pillow(kind: str) -> None:
    data = encode(Image.fromarray(SMOOTH), kind, quality=95)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=int)
    assert np.abs(decode_rgb(data).astype(int) - expected).max() <= 4


@pytest.mark.parametrize("color", [(250, 10, 20), (10, 250, 20), (10, 20, 250)])
@pytest.mark.parametrize("kind", FORMATS)
def test_colors_keep_their_channel(kind: str, color: tuple[int, int, int]) -> None:
    decoded = decode_rgb(encode(Image.new("RGB", (32, 24), color), kind))
    assert np.abs(decoded.astype(int) - np.array(color)).max() <= 8


def test_gray_becomes_three_equal_channels() -> None:
    decoded = decode_rgb(encode(Image.fromarray(NOISE[:, :, 0]), "PNG"))
    np.testing.assert_array_equal(decoded, np.repeat(NOISE[:, :, :1], 3, axis=2))


def test_a_palette_picture_has_its_colors() -> None:
    palette = Image.fromarray(NOISE).quantize(16)
    np.testing.assert_array_equal(
        decode_rgb(encode(palette, "PNG")), np.asarray(palette.convert("RGB"))
    )


def test_alpha_is_dropped_and_colors_under_it_stay() -> None:
    alpha = RNG.integers(0, 256, (40, 56, 1), dtype=np.uint8)
    rgba = Image.fromarray(np.concatenate([NOISE, alpha], axis=2))
    np.testing.assert_array_equal(decode_rgb(encode(rgba, "PNG")), NOISE)


def test_sixteen_bit_gray_is_scaled_by_its_own_range() -> None:
    deep = np.linspace(0, 65535, 40 * 56).round().astype(np.uint16).reshape(40, 56)
    decoded = decode_rgb(encode(Image.fromarray(deep), "PNG"))
    assert decoded.min() == 0
    assert decoded.max() == 255
    assert np.abs(decoded[:, :, 1] - deep / 257.0).max() <= 0.5
    np.testing.assert_array_equal(decoded[:, :, 0], decoded[:, :, 2])


def test_sixteen_bit_color_keeps_its_order() -> None:
    deep_bgr = NOISE[:, :, ::-1].astype(np.uint16) * 257
    done, data = cv2.imencode(".png", deep_bgr)
    assert done
    np.testing.assert_array_equal(decode_rgb(data.tobytes()), NOISE)


@pytest.mark.parametrize("ink", [(0, 0, 0, 0), (0, 255, 255, 0), (255, 0, 255, 0), (0, 0, 0, 255)])
def test_a_cmyk_jpeg_becomes_rgb(ink: tuple[int, int, int, int]) -> None:
    data = encode(Image.new("CMYK", (32, 24), ink), "JPEG", quality=95)
    cyan, magenta, yellow, black = (1 - value / 255 for value in ink)
    expected = 255 * black * np.array([cyan, magenta, yellow])
    assert np.abs(decode_rgb(data) - expected).max() <= 12


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(Image.fromarray(SMOOTH), "JPEG", quality=98, exif=exif)
    # The definition of the eight values, as flips and a transposition.
    turned = {
        1: SMOOTH,
        2: SMOOTH[:, ::-1],
        3: SMOOTH[::-1, ::-1],
        4: SMOOTH[::-1],
        5: SMOOTH.transpose(1, 0, 2),
        6: SMOOTH[::-1].transpose(1, 0, 2),
        7: SMOOTH[::-1, ::-1].transpose(1, 0, 2),
        8: SMOOTH[:, ::-1].transpose(1, 0, 2),
    }[orientation]
    decoded = decode_rgb(data)
    assert decoded.shape == turned.shape
    assert np.abs(decoded.astype(int) - turned).mean() < 4


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty file"),
        (b"not a picture at all", "cannot be decoded"),
        (b"\0" * 4096, "cannot be decoded"),
        (encode(Image.new("RGB", (1, 1)), "PNG"), "found 1x1"),
        (
            encode(Image.new("RGB", (MIN_SIDE, MIN_SIDE - 1)), "PNG"),
            f"found {MIN_SIDE}x{MIN_SIDE - 1}",
        ),
        (png_header(20_000, 20_000), "found 20000x20000"),
        (png_header(40, 30), "cannot be decoded"),
    ],
    ids=["zero bytes", "text", "zeros", "1x1", "one row short", "20,000 x 20,000", "no pixels"],
)
def test_what_is_no_usable_picture_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message) as caught:
        decode_rgb(data)
    assert "\n" not in str(caught.value)
    assert ";" in str(caught.value), "the message says what to do"


def test_the_smallest_side_is_accepted_and_one_row_over_the_most_pixels_is_not() -> None:
    assert decode_rgb(encode(Image.new("RGB", (MIN_SIDE, MIN_SIDE)), "PNG")).shape == (
        MIN_SIDE,
        MIN_SIDE,
        3,
    )
    with pytest.raises(ImageError, match="megapixels"):
        decode_rgb(png_header(1000, MAX_PIXELS // 1000 + 1))


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.8, 0.97])
@pytest.mark.parametrize("kind", FORMATS)
def test_a_truncated_picture_is_refused(kind: str, kept: float) -> None:
    whole = encode(Image.fromarray(NOISE), kind)
    decode_rgb(whole)
    with pytest.raises(ImageError):
        decode_rgb(whole[: int(len(whole) * kept)])


def test_a_truncated_jpeg_with_a_whole_thumbnail_is_refused() -> None:
    exif = Image.Exif()
    thumbnail = encode(Image.fromarray(SMOOTH[:8, :8]), "JPEG")
    whole = encode(Image.fromarray(NOISE), "JPEG", exif=exif.tobytes() + thumbnail)
    assert thumbnail in whole
    with pytest.raises(ImageError):
        decode_rgb(whole[: int(len(whole) * 0.8)])


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_what_follows_the_end_of_a_picture_is_left_aside(kind: str, progressive: bool) -> None:
    extra = {"progressive": True} if progressive and kind == "JPEG" else {}
    whole = encode(Image.fromarray(NOISE), kind, **extra)
    expected = decode_rgb(whole)
    # A film, say, with bytes that look like the start of another scan.
    film = (
        np.random.default_rng(0).integers(0, 256, 200_000, np.uint8).tobytes() + b"\xff\xda\x00\x02"
    )
    np.testing.assert_array_equal(decode_rgb(whole + film), expected)
    with pytest.raises(ImageError):
        decode_rgb(whole[: int(len(whole) * 0.8)])


def test_a_png_with_a_changed_byte_is_refused() -> None:
    data = bytearray(encode(Image.fromarray(NOISE), "PNG"))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(ImageError):
        decode_rgb(bytes(data))


def test_paths_that_cannot_be_read_are_refused_by_name(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.png", tmp_path):
        with pytest.raises(ImageError, match=str(path)):
            decode_rgb(path)


def test_a_file_and_its_bytes_give_the_same_tensor(tmp_path: Path) -> None:
    data = encode(Image.fromarray(NOISE), "PNG")
    path = tmp_path / "part with spaces ü.png"
    path.write_bytes(data)
    from_file = load_image(path, (16, 24))
    np.testing.assert_array_equal(from_file, load_image(data, (16, 24)))
    assert from_file.shape == (16, 24, 3)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(MAGIC), st.binary(max_size=200))
def test_arbitrary_bytes_decode_or_raise_image_error(magic: bytes, rest: bytes) -> None:
    check_decodes_or_refuses(magic + rest)


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(FORMATS), st.data())
def test_a_damaged_picture_decodes_or_raises_image_error(kind: str, data: st.DataObject) -> None:
    damaged = bytearray(encode(Image.fromarray(SMOOTH), kind))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, min(len(damaged), 400) - 1))] = data.draw(
            st.integers(0, 255)
        )
    check_decodes_or_refuses(bytes(damaged))


def check_decodes_or_refuses(data: bytes) -> None:
    try:
        decoded = decode_rgb(data)
    except ImageError:
        return
    assert decoded.dtype == np.uint8
    assert decoded.ndim == 3
    assert decoded.shape[2] == 3
    assert min(decoded.shape[:2]) >= MIN_SIDE


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_shrinking_by_whole_factors_is_the_block_mean(rows: int, columns: int, seed: int) -> None:
    height, width = 16, 24
    shape = (height * rows, width * columns, 3)
    image = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    expected = image.astype(np.float64).reshape(height, rows, width, columns, 3).mean(axis=(1, 3))
    assert np.abs(resize(image, (height, width)) - expected).max() <= 0.5 + 1e-6


def other_formats() -> dict[str, bytes]:
    """Pictures of types that OpenCV or others decode, and that nobody means here."""
    found = {}
    for name in (".jp2", ".ppm", ".pgm", ".hdr", ".pfm", ".gif", ".avif", ".ras"):
        image = NOISE.astype(np.float32) / 255 if name in (".hdr", ".pfm") else NOISE
        try:
            done, data = cv2.imencode(name, image[:, :, 0] if name == ".pgm" else image)
        except cv2.error:
            continue
        if done:
            found[name] = data.tobytes()
    for kind in ("GIF", "PPM", "JPEG2000", "AVIF", "ICO", "PCX", "TGA"):
        buffer = io.BytesIO()
        try:
            Image.fromarray(NOISE).save(buffer, kind)
        except (KeyError, OSError, ValueError):
            continue
        found[kind] = buffer.getvalue()
    return found


@pytest.mark.parametrize("name", other_formats())
def test_other_types_are_refused_by_their_content_whatever_they_are_called(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / "part.png"
    path.write_bytes(other_formats()[name])
    with pytest.raises(ImageError, match=r"expected a picture \(PNG, JPEG, BMP, TIFF or WebP\)"):
        decode_rgb(path)


def test_a_refused_type_is_named() -> None:
    with pytest.raises(ImageError, match="found a GIF"):
        decode_rgb(encode(Image.fromarray(NOISE), "GIF"))
    with pytest.raises(ImageError, match="found a PNM"):
        decode_rgb(encode(Image.fromarray(NOISE), "PPM"))


@pytest.mark.parametrize("error", [cv2.error("bad"), MemoryError(), OverflowError("too large")])
def test_a_decoder_that_fails_is_a_picture_that_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def failing(*_: object) -> None:
        raise error

    data = encode(Image.fromarray(NOISE), "PNG")
    monkeypatch.setattr("runtime.images.containers.imagesize.get", failing)
    with pytest.raises(ImageError, match=type(error).__name__):
        decode_rgb(data)


def test_a_device_or_a_pipe_is_no_picture(tmp_path: Path) -> None:
    """Reading it would never end."""
    os.mkfifo(tmp_path / "part.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    for name in ("part.png", "zero.png"):
        with pytest.raises(ImageError, match="found a device or pipe"):
            decode_rgb(tmp_path / name)
