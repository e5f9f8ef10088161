"""The tiny bundle on both engines, with golden images whose reference is computed by NumPy, not by
an engine."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from runtime.bundle.folder import MANIFEST_FILE, seal
from runtime.bundle.golden import Compared, write_golden
from runtime.bundle.manifest import Variant, parse_manifest
from runtime.bundle.thresholds import (
    THRESHOLDS_FILE,
    Threshold,
    Thresholds,
    read_thresholds,
    write_thresholds,
)
from runtime.engines.base import Arrays
from runtime.types import UInt8Image
from tests.edge_app.tiny_bundle import CELLS, LENGTH, SIDE, write_tiny_bundle

ENGINES = ("openvino", "onnxruntime")
THRESHOLD = 64.0
ONNX_PATH = "onnx/fp32/model.onnx"


def reference(image_rgb: UInt8Image) -> dict[str, npt.NDArray[np.float64]]:
    """What the tiny graph computes, in float64: mean colour of each of 4 x 4 cells against 128."""
    step = SIDE // CELLS
    deviation = image_rgb.astype(np.float64) - 128.0
    cells = deviation.reshape(CELLS, step, CELLS, step, 3).mean(axis=(1, 3))
    strength = np.abs(cells).max(axis=2)
    flat = cells.ravel()
    return {
        "pred_score": np.array([strength.max()]),
        "anomaly_map": strength[None, None],
        "embedding": (flat / np.linalg.norm(flat))[None],
    }


def computed(inputs: Arrays) -> Arrays:
    """What a working engine says, for a ``FakeEngine``."""
    found = reference(np.asarray(inputs["image"][0], dtype=np.uint8))
    return {name: np.asarray(value, dtype=np.float32) for name, value in found.items()}


def random_image(seed: int, strength: int = 128) -> UInt8Image:
    """Random cells around mid grey with a little noise; a larger ``strength`` gives a larger
    score."""
    rng = np.random.default_rng(seed)
    cells = rng.integers(128 - strength, 128 + strength, (CELLS, CELLS, 3))
    noise = rng.integers(-3, 4, (SIDE, SIDE, 3))
    grown = np.kron(cells, np.ones((SIDE // CELLS, SIDE // CELLS, 1), dtype=np.int64))
    return np.clip(grown + noise, 0, 255).astype(np.uint8)


def write_onnx(path: Path) -> None:
    """The same graph as ``write_tiny_bundle``'s, as ONNX."""
    step = SIDE // CELLS
    constants = {
        "grey": np.float32(128),
        "grid": np.array([CELLS, step, CELLS, step, 3], np.int64),
        "within": np.array([1, 3], np.int64),
        "colors": np.array([2], np.int64),
        "everywhere": np.array([0, 1], np.int64),
        "score_shape": np.array([1], np.int64),
        "map_shape": np.array([1, 1, CELLS, CELLS], np.int64),
        "flat_shape": np.array([1, LENGTH], np.int64),
    }
    node = helper.make_node
    nodes = [
        node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        node("Sub", ["float", "grey"], ["deviation"]),
        node("Reshape", ["deviation", "grid"], ["gridded"]),
        node("ReduceMean", ["gridded", "within"], ["cells"], keepdims=0),
        node("Abs", ["cells"], ["magnitude"]),
        node("ReduceMax", ["magnitude", "colors"], ["strength"], keepdims=0),
        node("ReduceMax", ["strength", "everywhere"], ["largest"], keepdims=0),
        node("Reshape", ["largest", "score_shape"], ["pred_score"]),
        node("Reshape", ["strength", "map_shape"], ["anomaly_map"]),
        node("Reshape", ["cells", "flat_shape"], ["flat"]),
        node("LpNormalization", ["flat"], ["embedding"], axis=1, p=2),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "tiny",
        [value("image", TensorProto.UINT8, [1, SIDE, SIDE, 3])],
        [
            value("pred_score", TensorProto.FLOAT, [1]),
            value("anomaly_map", TensorProto.FLOAT, [1, 1, CELLS, CELLS]),
            value("embedding", TensorProto.FLOAT, [1, LENGTH]),
        ],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True)
    path.write_bytes(model.SerializeToString())


def write_bundle(folder: Path) -> Path:
    """A sealed bundle with both engines and four golden images: two good parts and two anomalous
    ones."""
    write_tiny_bundle(folder)
    write_onnx(folder / ONNX_PATH)
    images = [
        random_image(seed, strength) for seed, strength in ((0, 20), (1, 40), (2, 100), (3, 128))
    ]
    expected = [reference(image) for image in images]
    scores = np.array([found["pred_score"][0] for found in expected])
    maps = [found["anomaly_map"][0, 0].astype(np.float32) for found in expected]
    write_golden(folder, images, Compared(scores, maps, THRESHOLD), float(np.ptp(scores)))
    threshold = Threshold(THRESHOLD, THRESHOLD, 10.0, "manual", 0)
    write_thresholds(
        folder / THRESHOLDS_FILE, Thresholds({f"{engine}/fp32": threshold for engine in ENGINES})
    )
    manifest = parse_manifest((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    second = Variant("onnxruntime", "fp32", ONNX_PATH)
    seal(folder, dataclasses.replace(manifest, variants=(*manifest.variants, second)))
    return folder


def edit_thresholds(bundle: Path, **values: float) -> None:
    """Edit thresholds.json as a person does who then types ``lineside thresholds BUNDLE seal``."""
    path = bundle / THRESHOLDS_FILE
    found = read_thresholds(path)
    changed = {key: dataclasses.replace(one, **values) for key, one in found.variants.items()}
    write_thresholds(path, Thresholds(changed, found.history))


def reseal(folder: Path) -> None:
    """Record the files as they are now: what a deliberate change looks like, with every hash
    right."""
    seal(folder, parse_manifest((folder / MANIFEST_FILE).read_text(encoding="utf-8")))
