"""A bundle from a model that anomalib has exported, with thresholds from good parts."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from calibration.health import MIN_PICTURES, write_first_health
from calibration.learning.evidence import (
    GOLDEN_IMAGES,
    Scored,
    certificate_pictures,
    load_images,
    score_engine,
)
from calibration.learning.ir import compiled, to_openvino
from calibration.threshold_rules import first_threshold, peaks_of
from export.interop.openvino_graph import descriptor_length, with_picture_input
from runtime import atomic
from runtime.bundle.folder import seal
from runtime.bundle.golden import Compared, Parity, compare, write_golden
from runtime.bundle.manifest import InputSpec, Manifest, MapSpec, OutputSpec, Variant
from runtime.bundle.thresholds import THRESHOLDS_FILE, Threshold, Thresholds, write_thresholds
from runtime.engines.base import ANOMALY_MAP, PRED_SCORE, open_engine
from runtime.engines.quiet import ov
from runtime.errors import BundleError, DataError, ParityError, reading, require_extra
from runtime.images.dataset import Category, list_images
from runtime.images.preprocess import RESIZE_RULE
from runtime.progress import track
from runtime.types import UInt8Image

log = logging.getLogger("lineside")

MODEL = "anomalib"
_ADVICE = "export it again with anomalib's Engine.export, as onnx or openvino"
_PLACES = ("model.xml", "model.onnx", "weights/openvino/model.xml", "weights/onnx/model.onnx")


@dataclass(frozen=True)
class Imported:
    """What came of an import.

    Attributes:
        manifest: as written.
        parity: of each variant to the export itself, on the same pictures.
        threshold: of the first variant.
        own_rejects: good parts that lie above 0.5, anomalib's threshold where it normalizes scores.
        n_good: good parts that were scored.
    """

    manifest: Manifest
    parity: tuple[Parity, ...]
    threshold: Threshold
    own_rejects: int
    n_good: int


def import_anomalib(
    model: Path,
    out: Path,
    good: Path,
    *,
    name: str | None = None,
    category: str | None = None,
    size: int | None = None,
    max_false_rejects: float = 0.05,
) -> Imported:
    """Write a bundle of an anomalib export; ``out`` appears only when all of it is proven.

    Args:
        model: ``model.xml``, ``model.onnx``, or the folder of one (also the export's root).
        out: target folder.
        good: good parts that the model has not learned, at least ten.
        name: the bundle's name.
        category: kind of part; None for the name of the folder of good parts.
        size: height and width of the input, where the export leaves them open.
        max_false_rejects: asked of the threshold.

    Raises:
        BundleError: no export of anomalib's, or one whose size is open and was not given.
        DataError: too few good parts.
        ParityError: the bundle's graph differs from the export.
        MissingExtraError: an ONNX file without the package onnx.
    """
    source = _model_file(model)
    with reading(source, "a model that anomalib has exported", BundleError, _ADVICE):
        original = ov.Core().read_model(str(source))
        size_hw = _size(source, original, size)
        original.reshape([1, 3, *size_hw])
        map_hw = _map_hw(source, original)
    images = load_images(list_images(good), size_hw)
    if len(images) < MIN_PICTURES:
        raise DataError(
            f"{good}: expected at least {MIN_PICTURES} good parts, found {len(images)}; add more"
        )
    kind = category or good.absolute().name
    with atomic.folder(out) as root:
        variants = _convert(source, size_hw, map_hw, root)
        # Mirrored, for those as they are set the threshold and some lie on it to the last bit.
        empty = Category(kind, (), ())
        pictures, _ = certificate_pictures(empty, (), list_images(good), size_hw)
        expected = _score_export(original, pictures)
        found = {one.key: _score(root, one, pictures, "certificate") for one in variants}
        scored = {one.key: _score(root, one, images, "threshold") for one in variants}
        thresholds = {
            key: first_threshold(one.scores, peaks_of(one.maps, size_hw, 0.0), max_false_rejects)
            for key, one in scored.items()
        }
        clamped = _is_clamped(expected, found[variants[0].key])
        parity = tuple(_certified(one, expected, found[one.key], clamped) for one in variants)
        first = variants[0].key
        said, golden = found[first], slice(0, GOLDEN_IMAGES)
        write_golden(
            root,
            pictures[golden],
            Compared(said.scores[golden], said.maps[golden], thresholds[first].image_threshold),
            float(np.ptp(said.scores)),
        )
        write_thresholds(root / THRESHOLDS_FILE, Thresholds(thresholds))
        write_first_health(
            root, list_images(good), size_hw, {key: one.scores for key, one in scored.items()}
        )
        manifest = seal(
            root,
            Manifest(
                name=name or f"{kind}-{MODEL}",
                model=MODEL,
                category=kind,
                input=InputSpec(*size_hw, resize=RESIZE_RULE),
                outputs=OutputSpec(*map_hw, descriptor_length(map_hw)),
                anomaly_map=MapSpec(0.0),
                variants=variants,
                files={},
                recipe={"imported": source.name, "descriptor": "where the heat lies, 8 x 8 cells"},
                provenance={
                    "packages": {one: version(one) for one in ("lineside", "openvino", "numpy")},
                    "export_sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
                    "threshold_images": len(images),
                },
                certificate={
                    "reference": f"the export {source.name} itself, OpenVINO "
                    f"{version('openvino')}, CPU{', clamped to [0, 1]' if clamped else ''}",
                    "variants": {one.variant: one.to_json() for one in parity},
                },
            ),
        )
    own = int((scored[first].scores > 0.5).sum())
    return Imported(manifest, parity, thresholds[first], own, len(images))


def _model_file(model: Path) -> Path:
    places = [model] if model.is_file() else [model / place for place in _PLACES]
    found = [one for one in places if one.is_file() and one.suffix in (".xml", ".onnx")]
    if not found:
        what = "another file" if model.is_file() else "neither" if model.is_dir() else "nothing"
        raise BundleError(
            f"{model}: expected model.xml or model.onnx of anomalib, found {what}; {_ADVICE}"
        )
    return found[0]


def _size(source: Path, model: ov.Model, size: int | None) -> tuple[int, int]:
    shape = model.input(0).get_partial_shape()
    names = {name for output in model.outputs for name in output.get_names()}
    takes = model.input(0).get_element_type()
    floats = len(model.inputs) == 1 and takes == ov.Type.f32 and len(shape) == 4
    if not floats or not {PRED_SCORE, ANOMALY_MAP} <= names:
        raise BundleError(
            f"{source}: expected one input float32 (n, 3, H, W), and {PRED_SCORE} and "
            f"{ANOMALY_MAP} among the outputs, found {takes.get_type_name()} {shape} and "
            f"{', '.join(sorted(names))}; {_ADVICE}"
        )
    fixed = [None if one.is_dynamic else one.get_length() for one in list(shape)[2:]]
    height, width = (one or size for one in fixed)
    if height is None or width is None:
        raise BundleError(
            f"{source}: expected a height and width, found an export for any size; say which with "
            "--size PIXELS"
        )
    if size is not None and (height, width) != (size, size):
        raise BundleError(
            f"{source}: expected pictures of {height} x {width} pixels, found --size {size}; leave "
            "it out"
        )
    return height, width


def _map_hw(source: Path, model: ov.Model) -> tuple[int, int]:
    shape = model.output(ANOMALY_MAP).get_partial_shape()
    if shape.is_dynamic or len(shape) < 3:
        raise BundleError(f"{source}: expected a map of fixed size, found {shape}; {_ADVICE}")
    height, width = list(shape.to_shape())[-2:]
    return height, width


def _convert(
    source: Path, size_hw: tuple[int, int], map_hw: tuple[int, int], root: Path
) -> tuple[Variant, ...]:
    """Write the variants: both engines for ONNX, OpenVINO alone for its own format."""
    model = ov.Core().read_model(str(source))
    kinds = {node.get_type_name() for node in model.get_ops()}
    precision = "int8" if "FakeQuantize" in kinds else "fp32"
    variants = [Variant("openvino", precision, f"openvino/{precision}/model.xml")]
    if source.suffix == ".onnx":
        variants.append(Variant("onnxruntime", precision, f"onnx/{precision}/model.onnx"))
    openvino, *onnx = (root / one.path for one in variants)
    for path in (openvino, *onnx):
        path.parent.mkdir(parents=True)
    if not onnx:
        ov.save_model(with_picture_input(model, size_hw), openvino, compress_to_fp16=False)
        return tuple(variants)
    require_extra("train", "onnx")
    from export.interop import onnx_graph

    wrapped = onnx_graph.with_picture_input(onnx_graph.read_onnx(source), size_hw, map_hw)
    onnx[0].write_bytes(wrapped.SerializeToString())
    # From the same graph, for OpenVINO reads a clamp of ONNX as other operations.
    to_openvino(onnx[0], openvino)
    return tuple(variants)


def _score(root: Path, variant: Variant, images: Sequence[UInt8Image], what: str) -> Scored:
    engine = open_engine(variant.engine, root / variant.path)
    try:
        return score_engine(engine, images, f"{variant.key}: {what}")
    finally:
        engine.close()


def _score_export(model: ov.Model, images: Sequence[UInt8Image]) -> Scored:
    """The export as it came, with pictures as anomalib gives them to it."""
    run = compiled(model)
    scores, maps = [], []
    for image in track(images, "the export itself"):
        said = run(image.transpose(2, 0, 1)[None].astype(np.float32) / 255.0)
        scores.append(float(np.asarray(said[PRED_SCORE]).reshape(-1)[0]))
        maps.append(np.array(said[ANOMALY_MAP], dtype=np.float32).squeeze())
    return Scored(np.array(scores), maps)


def _is_clamped(expected: Scored, found: Scored) -> bool:
    """Whether the export gives nothing beyond [0, 1] where the bundle's graph does."""

    def within(one: Scored) -> bool:
        both = np.concatenate([one.scores, *(each.ravel() for each in one.maps)])
        return bool(both.min() >= 0 and both.max() <= 1)

    return within(expected) and not within(found)


def _certified(variant: Variant, expected: Scored, found: Scored, clamped: bool) -> Parity:
    if clamped:
        found = Scored(found.scores.clip(0, 1), [one.clip(0, 1) for one in found.maps])
    threshold = float(np.median(expected.scores))
    parity = compare(
        variant.key,
        "CPU",
        Compared(expected.scores, expected.maps, threshold),
        Compared(found.scores, found.maps, threshold),
    )
    # A verdict flips at a threshold; here is none yet that both sides share.
    near = parity.max_score_difference <= parity.bound and parity.p99_map_difference <= parity.bound
    if not near:
        raise ParityError(
            f"{variant.key}: expected the export's scores and maps within {parity.bound:g} of "
            f"their range, found {parity.max_score_difference:.2e} and "
            f"{parity.p99_map_difference:.2e} on {parity.images} pictures; no bundle was written"
        )
    return parity
