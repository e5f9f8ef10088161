"""A bundle with a real, tiny OpenVINO graph, which nobody has to train, and parts for it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from runtime.bundle.folder import seal
from runtime.bundle.manifest import InputSpec, Manifest, MapSpec, OutputSpec, Variant
from runtime.bundle.thresholds import THRESHOLDS_FILE, Threshold, Thresholds, write_thresholds
from runtime.engines.quiet import opset13 as ops
from runtime.engines.quiet import ov

SIDE = 32
CELLS = 4
LENGTH = CELLS * CELLS * 3


def write_tiny_bundle(folder: Path, *, gain: float = 1.0) -> Path:
    """Write a bundle for which darkness or brightness against mid grey is what is anomalous.

    The score is the largest deviation of a cell's mean color from 128, in [0, 128] times ``gain``,
    the embedding the L2-normalized deviation of the 4 x 4 cells, 48 numbers. Another ``gain`` is
    another model.
    """
    image = ops.parameter([1, SIDE, SIDE, 3], np.uint8, name="image")
    deviation = ops.subtract(ops.convert(image, "f32"), ops.constant(np.float32(128)))
    split = np.array([CELLS, SIDE // CELLS, CELLS, SIDE // CELLS, 3])
    grid = ops.reshape(deviation, split, special_zero=False)
    cells = ops.reduce_mean(grid, np.array([1, 3]), keep_dims=False)
    scaled = ops.multiply(cells, ops.constant(np.float32(gain)))
    strength = ops.reduce_max(ops.absolute(scaled), np.array([2]), keep_dims=False)
    worst = ops.reduce_max(strength, np.array([0, 1]))
    flat = ops.reshape(scaled, np.array([1, LENGTH]), special_zero=False)
    outputs = {
        "pred_score": ops.reshape(worst, np.array([1]), special_zero=False),
        "anomaly_map": ops.reshape(strength, np.array([1, 1, CELLS, CELLS]), special_zero=False),
        "embedding": ops.normalize_l2(flat, np.array([1]), eps=1e-12, eps_mode="max"),
    }
    for name, node in outputs.items():
        node.output(0).set_names({name})
    image.output(0).set_names({"image"})
    target = folder / "openvino" / "fp32"
    target.mkdir(parents=True)
    model = ov.Model(list(outputs.values()), [image])
    ov.save_model(model, target / "model.xml", compress_to_fp16=False)
    threshold = Threshold(64.0 * gain, 64.0 * gain, 10.0 * gain, "manual", 0)
    write_thresholds(folder / THRESHOLDS_FILE, Thresholds({"openvino/fp32": threshold}))
    manifest = Manifest(
        name="tile-tiny",
        model="patchcore",
        category="tile",
        input=InputSpec(SIDE, SIDE),
        outputs=OutputSpec(CELLS, CELLS, LENGTH),
        anomaly_map=MapSpec(0.0),
        variants=(Variant("openvino", "fp32", "openvino/fp32/model.xml"),),
        files={},
    )
    seal(folder, manifest)
    return folder


def write_part(path: Path, seed: int, defect: str, side: int = 64) -> None:
    """A grey tile; ``dark``: black at the upper left, ``bright``: white at the lower right."""
    image = np.random.default_rng(seed).integers(118, 138, size=(side, side, 3), dtype=np.uint8)
    corner = side // 4
    if defect == "dark":
        image[:corner, :corner] = seed % 20
    if defect == "bright":
        image[-corner:, -corner:] = 255 - seed % 20
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)
