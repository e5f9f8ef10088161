"""bundle.json: what a bundle says about itself, typed and checked.

The manifest is the contract between the workstation that trains and the box that inspects. It is
read strictly: an unknown schema version or a missing field is an error that says what was expected.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

import msgspec

from runtime.decode import Count, Positive, decode_json
from runtime.errors import BundleError

SCHEMA_VERSION = 1
# Where the provenance lists the digests of the training pictures: sha256 of the pixels at the
# model's size, cut to 64 bits in hex: no accidental match among millions of pictures.
TRAIN_DIGESTS = "train_digests"
# Key in the provenance: by digest of a learned part, the raw score and the highest value of the
# heat map that fp32 gives it without having seen it.
LEFT_OUT_SCORES = "left_out_scores"
DIGEST_LENGTH = 16
# Key in the provenance: terms of ``weights`` and ``data``, as far as they are known.
LICENSES = "licenses"
# Keys in the provenance of a bundle that has learned more of its part: what of, and there the
# fingerprints of those that it has grown from, newest first.
FROM_FEEDBACK, MODELS = "from_feedback", "models"
# Key in the recipe of a bundle that judges a region of interest alone.
ROI = "roi"
# Key in the recipe of a bundle that has learned no part: another one is taught from it.
BLANK = "blank"
EngineName = Literal["openvino", "onnxruntime"]
ENGINES: tuple[EngineName, ...] = ("openvino", "onnxruntime")


@dataclass(frozen=True)
class InputSpec:
    """What the graph's input ``image`` takes: uint8 (1, height, width, 3), see ``resize``."""

    height: Positive
    width: Positive
    color_order: Literal["RGB"] = "RGB"
    resize: Literal["area"] = "area"

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.height, self.width


@dataclass(frozen=True)
class OutputSpec:
    """Shapes of ``anomaly_map`` (1, 1, map_height, map_width), ``embedding`` (1, its length)."""

    map_height: Positive
    map_width: Positive
    embedding_length: Positive


@dataclass(frozen=True)
class MapSpec:
    """How the map at feature resolution becomes a heat map: bilinear up-sampling, Gaussian blur.

    Attributes:
        blur_sigma: standard deviation of the Gaussian in input pixels; 0 for none.
    """

    blur_sigma: Annotated[float, msgspec.Meta(ge=0, le=256)]


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

    size: Count
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

    @property
    def grown_from(self) -> tuple[str, ...]:
        """Fingerprints of those that it has learned beside: its descriptors compare with theirs."""
        found = self.provenance.get(FROM_FEEDBACK)
        models = found.get(MODELS) if isinstance(found, dict) else None
        return tuple(one for one in models or () if isinstance(one, str))

    @property
    def is_blank(self) -> bool:
        """Whether it has learned no part, so that it judges none."""
        return bool(self.recipe.get(BLANK))

    def model_fingerprint(self) -> str:
        """sha256 in hex over the fp32 variants' files: the same model, wherever it is copied.

        Thresholds are edited on the box and an INT8 variant is added later: neither changes it.
        """
        chosen = [one for one in self.variants if one.precision == "fp32"] or self.variants
        folders = {PurePosixPath(variant.path).parent for variant in chosen}
        digest = hashlib.sha256()
        for name, record in sorted(self.files.items()):
            if PurePosixPath(name).parent in folders:
                digest.update(f"{name}\0{record.size}\0{record.sha256}\n".encode())
        return digest.hexdigest()

    def variants_matching(
        self, engine: str | None = None, precision: str | None = None
    ) -> tuple[Variant, ...]:
        """Variants of an engine and a precision, in the bundle's order; None matches every one.

        Raises:
            BundleError: none matches; the message lists those there are.
        """
        chosen = tuple(
            one
            for one in self.variants
            if engine in (None, one.engine) and precision in (None, one.precision)
        )
        if not chosen:
            have = ", ".join(one.key for one in self.variants)
            raise BundleError(
                f"bundle '{self.name}': expected the variant {engine or 'any'}/"
                f"{precision or 'any'}, found {have}; "
                "choose one of these with --engine and --precision"
            )
        return chosen

    def variant(self, engine: str | None, precision: str | None) -> Variant:
        """The first of :meth:`variants_matching`."""
        return self.variants_matching(engine, precision)[0]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON value of the manifest."""
        return asdict(self)


def parse_manifest(text: str | bytes) -> Manifest:
    """Read bundle.json.

    Args:
        text: the file's content.

    Raises:
        BundleError: no JSON, another schema version, or a field that is missing or of the wrong
            type.
    """
    found = decode_json(
        text,
        Manifest,
        where="bundle.json",
        error=BundleError,
        advice="export or copy the bundle again",
        version=SCHEMA_VERSION,
        complete=True,
    )
    missing = [one.path for one in found.variants if one.path not in found.files]
    if missing or not found.variants:
        raise BundleError(
            "bundle.json: expected variants whose files are listed, found "
            f"{', '.join(missing) or 'no variant at all'}; export or copy the bundle again"
        )
    return found
