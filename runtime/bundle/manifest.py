"""bundle.json: what a bundle says about itself, typed and checked.

The manifest is the contract between the workstation that trains and the box that inspects. It is
read strictly: an unknown schema version or a missing field is an error that says what was expected.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from runtime.errors import BundleError

SCHEMA_VERSION = 1
# Where the provenance lists the digests of the training pictures: sha256 of the pixels at the
# model's size, cut to 64 bits in hex: no accidental match among millions of pictures.
TRAIN_DIGESTS = "train_digests"
DIGEST_LENGTH = 16
EngineName = Literal["openvino", "onnxruntime"]
ENGINES: tuple[EngineName, ...] = ("openvino", "onnxruntime")


@dataclass(frozen=True)
class InputSpec:
    """What the graph's ``image`` input takes: uint8 (1, height, width, 3), RGB, resized by ``resize``."""

    height: int
    width: int
    color_order: str = "RGB"
    resize: str = "area"

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.height, self.width


@dataclass(frozen=True)
class OutputSpec:
    """Shapes of the outputs: ``anomaly_map`` (1, 1, map_height, map_width) and ``embedding`` (1, embedding_length)."""

    map_height: int
    map_width: int
    embedding_length: int


@dataclass(frozen=True)
class MapSpec:
    """How the runtime turns the map at feature resolution into a heat map: bilinear up-sampling, then Gaussian blur.

    Attributes:
        blur_sigma: standard deviation of the Gaussian in input pixels; 0 for none.
    """

    blur_sigma: float


@dataclass(frozen=True)
class Variant:
    """One compiled form of the model.

    Attributes:
        engine: the engine that runs it.
        precision: fp32, fp16 or int8.
        path: model file inside the bundle, with forward slashes.
    """

    engine: EngineName
    precision: str
    path: str

    @property
    def key(self) -> str:
        """``engine/precision``, the key in thresholds.json and in the certificate."""
        return f"{self.engine}/{self.precision}"


@dataclass(frozen=True)
class FileRecord:
    """Size in bytes and sha256 (hex) of one file of the bundle."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """Everything in bundle.json.

    Attributes:
        name: the bundle's name, ``<category>-<model>`` unless chosen otherwise.
        model: ``patchcore`` or ``efficientad``.
        category: kind of part.
        recipe: every setting that made the model, as plain JSON.
        provenance: package versions, data set fingerprint, seed, seconds of training.
        metrics: figures measured at export, if any.
        certificate: the parity certificate, see ``export/certificate.py``.
    """

    name: str
    model: str
    category: str
    input: InputSpec
    outputs: OutputSpec
    anomaly_map: MapSpec
    variants: tuple[Variant, ...]
    files: dict[str, FileRecord]
    recipe: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    certificate: dict[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def variant(self, engine: str, precision: str) -> Variant:
        """Find a variant.

        Raises:
            BundleError: the bundle has none for this engine and precision; the message lists those
                it has.
        """
        for candidate in self.variants:
            if (candidate.engine, candidate.precision) == (engine, precision):
                return candidate
        have = ", ".join(v.key for v in self.variants)
        raise BundleError(
            f"bundle '{self.name}': expected the variant {engine}/{precision}, found {have}; "
            "choose one of these with --engine and --precision"
        )

    def of_precision(self, precision: str) -> Variant:
        """The first variant of a precision, whatever its engine.

        Raises:
            BundleError: there is none.
        """
        for candidate in self.variants:
            if candidate.precision == precision:
                return candidate
        have = ", ".join(v.key for v in self.variants)
        raise BundleError(
            f"bundle '{self.name}': expected a variant in {precision}, found {have}; "
            "choose one of these with --precision"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON value of the manifest."""
        return asdict(self)


def parse_manifest(text: str) -> Manifest:
    """Read bundle.json.

    Args:
        text: the file's content.

    Raises:
        BundleError: no JSON, another schema version, or a field that is missing or of the wrong
            type.
    """
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BundleError(
            f"bundle.json: expected JSON, found {error}; export or copy the bundle again"
        ) from error
    if not isinstance(raw, dict):
        raise BundleError(
            "bundle.json: expected a JSON object, found something else; export or copy the bundle "
            "again"
        )
    version = raw.get("schema_version")
    if version != SCHEMA_VERSION:
        newer = isinstance(version, int) and version > SCHEMA_VERSION
        advice = "type: pip install --upgrade lineside" if newer else "export the bundle again"
        raise BundleError(
            f"bundle.json: expected schema version {SCHEMA_VERSION}, found {version!r}; {advice}"
        )
    try:
        return _build(raw)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BundleError(
            f"bundle.json: a field is missing or of the wrong type ({type(error).__name__}: "
            f"{error}); "
            "export or copy the bundle again"
        ) from error


def _build(raw: dict[str, Any]) -> Manifest:
    inputs, outputs = raw["input"], raw["outputs"]
    variants = tuple(_variant(item) for item in raw["variants"])
    files = {
        str(name): FileRecord(int(record["size"]), str(record["sha256"]))
        for name, record in raw["files"].items()
    }
    missing = [variant.path for variant in variants if variant.path not in files]
    if missing or not variants:
        raise ValueError(f"variants without a file record: {missing or 'no variant at all'}")
    return Manifest(
        name=str(raw["name"]),
        model=str(raw["model"]),
        category=str(raw["category"]),
        input=InputSpec(
            _positive(inputs["height"]),
            _positive(inputs["width"]),
            _known(inputs["color_order"], "RGB"),
            _known(inputs["resize"], "area"),
        ),
        outputs=OutputSpec(
            *(_positive(outputs[k]) for k in ("map_height", "map_width", "embedding_length"))
        ),
        anomaly_map=MapSpec(_blur(raw["anomaly_map"]["blur_sigma"])),
        variants=variants,
        files=files,
        recipe=dict(raw.get("recipe", {})),
        provenance=dict(raw.get("provenance", {})),
        metrics=dict(raw.get("metrics", {})),
        certificate=dict(raw.get("certificate", {})),
    )


def _variant(raw: dict[str, Any]) -> Variant:
    engine = raw["engine"]
    if engine not in ENGINES:
        raise ValueError(f"unknown engine {engine!r}")
    return Variant(engine, str(raw["precision"]), str(raw["path"]))


def _positive(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"expected a positive whole number, found {value!r}")
    return value


def _known(value: Any, only: str) -> str:
    if value != only:
        raise ValueError(f"expected {only!r}, found {value!r}")
    return only


def _blur(value: Any) -> float:
    sigma = float(value)
    if not (math.isfinite(sigma) and sigma >= 0):
        raise ValueError(f"expected a blur of 0 or more, found {value!r}")
    return sigma
