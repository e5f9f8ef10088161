"""EfficientAD's map quantiles from what the quantised networks say.

Every error of quantisation adds to a squared difference, so maps of INT8 lie higher and reach
further than those of fp32, good parts and bad ones alike. The map is scaled by two of its quantiles
on good parts, the two that anomalib uses; the quantised map is scaled so that its own lie where
those of fp32 do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from calibration.int8.graph_parts import constant, replace_constant
from runtime.engines.quiet import opset13, ov
from runtime.progress import track
from runtime.types import UInt8Image

# As many as training takes them from.
MAX_PICTURES = 60
# Of the map on good parts, as in anomalib and the paper.
QUANTILES = (0.9, 0.995)
# Constants of the exported graph: map = sum of weights times squared differences + offset.
WEIGHTS = ("weight_st", "weight_ae")
OFFSET = "offset"


def match_maps(quantized: ov.Model, exact: ov.Model, pictures: Sequence[UInt8Image]) -> None:
    """Scale the maps of the quantised graph like those of the exact one.

    Args:
        quantised: whole graph with quantised networks; it is changed.
        exact: whole graph in fp32.
        pictures: good parts, uint8 (H, W, 3).
    """
    offset = constant(quantized, OFFSET)
    if offset is None:
        return
    (low, high), (wanted_low, wanted_high) = (
        _quantiles(model, pictures) for model in (quantized, exact)
    )
    scale = (wanted_high - wanted_low) / max(high - low, 1e-12)
    moved = (np.array(offset.get_data()) - low) * scale + wanted_low
    replace_constant(offset, opset13.constant(moved.astype(np.float32)))
    for name in WEIGHTS:
        weight = constant(quantized, name)
        if weight is not None:
            scaled = np.array(weight.get_data()) * scale
            replace_constant(weight, opset13.constant(scaled.astype(np.float32)))


def _quantiles(model: ov.Model, pictures: Sequence[UInt8Image]) -> npt.NDArray[np.float64]:
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    maps = [
        np.array(compiled(picture[None])["anomaly_map"])
        for picture in track(pictures[:MAX_PICTURES], "INT8: maps")
    ]
    return np.asarray(np.quantile(np.stack(maps), QUANTILES))
