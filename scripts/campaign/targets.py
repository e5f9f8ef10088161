"""Every parser at the edge, as a function of bytes that works or raises an error of ours."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from runtime.bundle.folder import SIGNATURE_FILE, Bundle, pack_archive
from runtime.bundle.manifest import parse_manifest
from runtime.bundle.reference import read_reference
from runtime.bundle.sealing import SEAL, seal_of
from runtime.bundle.signing import check_signature, make_keys, sign_bundle
from runtime.bundle.thresholds import read_thresholds
from runtime.engines.isolated.engine import IsolatedEngine
from runtime.health.baseline import read_health
from runtime.images.preprocess import decode_rgb
from runtime.images.roi import read_roi
from runtime.types import UInt8Image

Run = Callable[[bytes], object]
# One case starts a process.
MODEL_SHARE = 0.2
ONNX_PATH = "onnx/fp32/model.onnx"


@dataclass(frozen=True)
class Target:
    """One parser.

    Attributes:
        name: of what it reads.
        seeds: whole files; the first is read as it is.
        run: reads one; an error of ours or a true answer is a refusal, any other error a crash.
        is_json: whether values are changed, too.
        share: of a campaign's cases, beside those of the others.
    """

    name: str
    seeds: tuple[bytes, ...]
    run: Run
    is_json: bool = False
    share: float = 8


def targets(bundle: Path, work: Path) -> list[Target]:
    """All of them but the API.

    Args:
        bundle: a sealed bundle with thresholds.json and health.json.
        work: folder in which all that is written must stay.
    """
    from edge_app.access.tokens import read_tokens
    from edge_app.access.users import put_user, read_users
    from edge_app.interchange_line import format_line, parse_line
    from edge_app.live.config import read_config

    work.mkdir(parents=True, exist_ok=True)
    pack_archive(bundle, work / "seed.lineside")
    packed = (work / "seed.lineside").read_bytes()
    line = format_line(_point(), "").encode()
    config = (
        b'bundles = ["bundle"]\nstore = "records"\n[page]\nport = 7860\n[engine]\nthreads = 2\n'
        b'[[sources]]\nname = "press"\nwatch = "incoming"\n[[outputs]]\nname = "mes"\n'
        b'url = "http://mes:8080/verdicts"\n'
    )
    token = json.dumps(
        {"api_tokens_version": 1, "tokens": [{"name": "mes", "sha256": "0" * 64, "made": "2026"}]}
    ).encode()

    put_user(work / "users.json", "ada", "engineer", "correct horse")
    users = (work / "users.json").read_bytes()
    golden = tuple(one.read_bytes() for one in sorted((bundle / "golden").glob("*.npz")))

    def of_file(name: str, read: Callable[[Path], object]) -> Run:
        path = work / name

        def run(data: bytes) -> None:
            path.write_bytes(data)
            read(path)

        return run

    return [
        Target("pictures", _pictures(), lambda data: void(decode_rgb(data)), share=24),
        Target(
            "region",
            (_region(), *_pictures()),
            of_file("roi.png", lambda path: read_roi(path, (48, 64))),
            share=4,
        ),
        Target(
            "manifest",
            ((bundle / "bundle.json").read_bytes(),),
            lambda data: void(parse_manifest(data)),
            is_json=True,
            share=12,
        ),
        _sealed("thresholds", bundle, of_file("thresholds.json", read_thresholds)),
        _sealed("health", bundle, of_file("health.json", read_health)),
        Target("zip", (packed,), of_file("packed.lineside", _open)),
        Target("golden", golden, of_file("reference.npz", read_reference), share=4),
        _signed(bundle, work),
        Target(
            "interchange",
            (line,),
            lambda data: void(parse_line(data, work)),
            is_json=True,
            share=12,
        ),
        Target("configuration", (config,), of_file("station.toml", read_config), share=6),
        Target("tokens", (token,), of_file("tokens.json", read_tokens), is_json=True, share=4),
        Target("users", (users,), of_file("users.json", read_users), is_json=True, share=4),
    ]


def void(_: object) -> None:
    """The result does not matter."""


def _sealed(name: str, bundle: Path, run: Run) -> Target:
    """Half of the edits are sealed anew, or nothing behind the seal would ever be tried."""

    def resealed(data: bytes) -> None:
        try:
            raw = json.loads(data)
            if isinstance(raw, dict) and len(data) % 2:
                raw[SEAL] = seal_of(raw)
                data = json.dumps(raw).encode("utf-8", "surrogatepass")
        except (ValueError, RecursionError):
            pass
        run(data)

    content = (bundle / f"{name}.json").read_bytes()
    return Target(name, (content,), resealed, is_json=True, share=12)


def _signed(bundle: Path, work: Path) -> Target:
    """The signature of a bundle; no mutation of it may be taken for one."""
    signed = Path(shutil.copytree(bundle, work / "signed"))
    key = work / "line.key"
    public = make_keys(key)
    sign_bundle(signed, key)
    path = signed / SIGNATURE_FILE
    whole = path.read_bytes()
    opened = Bundle.open(signed)

    def run(data: bytes) -> None:
        path.write_bytes(data)
        check_signature(opened, public)

    return Target("signature", (whole,), run, is_json=True, share=4)


def model_target(bundle: Path, work: Path) -> Target:
    """Models that were made to harm: opened and run where ``--isolate`` opens and runs them."""
    source = bundle / "openvino" / "fp32"
    model = Path(shutil.copytree(source, work / "model", dirs_exist_ok=True)) / "model.xml"
    onnx = work / "model" / "model.onnx"
    picture = np.full((1, 32, 32, 3), 90, np.uint8)

    def run(data: bytes) -> None:
        is_onnx = b"<net" not in data[:200]
        path = onnx if is_onnx else model
        path.write_bytes(data)
        engine = IsolatedEngine("onnxruntime" if is_onnx else "openvino", path, threads=1)
        try:
            engine.run({"image": picture})
        finally:
            engine.close()

    seeds = (model.read_bytes(), (bundle / ONNX_PATH).read_bytes())
    return Target("model", seeds, run, share=MODEL_SHARE)


def _open(path: Path) -> None:
    with Bundle.open(path) as bundle:
        bundle.thresholds()
        bundle.health()


def _point() -> object:
    from edge_app.store import PartPoint

    return PartPoint(
        point_id="5f0f8a3c-0c3a-5e0c-9a53-1b8f0d2f4b11",
        embedding=np.ones(8, np.float32) / np.float32(np.sqrt(8)),
        bundle="0123456789abcdef",
        category="tile",
        path="parts/a.png",
        verdict="anomalous",
        raw_score=2.0,
        normalized_score=0.9,
        defect_type="crack",
        time="2026-01-01T00:00:00.000000+00:00",
        camera="0",
    )


def _pictures() -> tuple[bytes, ...]:
    """Each type, by OpenCV's encoders: small, so that many can be tried."""
    generator = np.random.default_rng(0)
    image = cv2.resize(generator.integers(0, 256, (6, 8, 3), dtype=np.uint8), (64, 48))
    deep = image.astype(np.uint16) * 257
    kinds = (
        (".png", image, []),
        (".png", deep, []),
        (".jpg", image, []),
        (".jpg", image, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
        (".jpg", image, [cv2.IMWRITE_JPEG_RST_INTERVAL, 2]),
        (".bmp", image, []),
        (".webp", image, [cv2.IMWRITE_WEBP_QUALITY, 80]),
        (".webp", image, [cv2.IMWRITE_WEBP_QUALITY, 101]),
        (".tiff", image, [cv2.IMWRITE_TIFF_COMPRESSION, 1]),
        (".tiff", image, [cv2.IMWRITE_TIFF_COMPRESSION, 5]),
        (".tiff", deep, [cv2.IMWRITE_TIFF_COMPRESSION, 8]),
        (".tiff", image[:, :, 0], [cv2.IMWRITE_TIFF_COMPRESSION, 32773]),
    )
    ours = (
        cv2.imencode(kind, np.ascontiguousarray(one), options)[1].tobytes()
        for kind, one, options in kinds
    )
    return (*ours, *_others(image))


def _others(image_rgb: UInt8Image) -> Iterator[bytes]:
    """Kinds that OpenCV does not write."""
    picture = Image.fromarray(image_rgb)
    exif = Image.Exif()
    exif[274] = 6
    for kind, mode, options in (
        ("tiff", "RGB", {"compression": "jpeg"}),
        ("tiff", "CMYK", {"compression": "tiff_lzw"}),
        ("tiff", "P", {}),
        ("jpeg", "RGB", {"exif": exif}),
        ("jpeg", "CMYK", {}),
        ("png", "P", {}),
        ("png", "LA", {}),
        ("webp", "RGBA", {"exif": exif}),
    ):
        file = io.BytesIO()
        picture.convert(mode).save(file, kind, **options)
        yield file.getvalue()


def _region() -> bytes:
    mask = np.zeros((48, 64), np.uint8)
    mask[8:40, 8:56] = 255
    return bytes(cv2.imencode(".png", mask)[1].tobytes())


def form_of(*pictures: bytes) -> tuple[bytes, str]:
    """A form with files, and its type."""
    body = io.BytesIO()
    for index, data in enumerate(pictures):
        head = f'--edge\r\nContent-Disposition: form-data; name="file"; filename="{index}.png"\r\n'
        body.write(head.encode() + b"Content-Type: image/png\r\n\r\n" + data + b"\r\n")
    body.write(b"--edge--\r\n")
    return body.getvalue(), "multipart/form-data; boundary=edge"
