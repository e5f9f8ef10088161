"""The whole graph of an INT8 variant, from the fp32 one and pictures to learn from.

Every error of quantization adds to a squared difference, so maps that a student and an autoencoder
make lie higher and reach further in INT8 than in fp32, on good parts and bad ones alike. Such a map
is scaled by two of its quantiles on good parts, the two that anomalib uses; the quantized map is
scaled so that its own lie where those of fp32 do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from calibration.int8.bank import rebuild_bank
from calibration.int8.graph import feature_outputs, graft, memory_bank, networks_of
from calibration.int8.search import quantize_search
from calibration.learning.ir import compiled, constant, replace_constant
from runtime.engines.quiet import opset13, ov
from runtime.progress import track
from runtime.types import Float32, UInt8Image

# As many as training takes them from.
MAX_MAPS = 60
# Of the map on good parts, as in anomalib and the paper.
QUANTILES = (0.9, 0.995)
# Constants of the exported graph: map = sum of weights times squared differences + offset.
WEIGHTS = ("weight_st", "weight_ae")
OFFSET = "offset"


def around_networks(
    onnx: Path, ir: Path, networks: ov.Model | None, learn: Sequence[UInt8Image]
) -> ov.Model:
    """The whole graph around quantized networks, with the bank or the map's scale that they need.

    A search through a bank is in INT8 too.

    Args:
        onnx: the fp32 model, whose features have names.
        ir: the same as OpenVINO IR.
        networks: from :func:`calibration.int8.networks.quantized_networks`; they become part of the
            result. None leaves those of the graph.
        learn: good parts to learn from, uint8 (H, W, 3).
    """
    whole = ov.Core().read_model(str(ir))
    bank = memory_bank(whole)
    if networks is not None:
        if bank is not None:
            exact = networks_of(ov.Core().read_model(str(onnx)))
            seen = _patches(exact, networks, learn)
            replace_constant(bank, opset13.constant(rebuild_bank(np.array(bank.get_data()), seen)))
        whole = graft(whole, networks)
    if bank is None:
        match_maps(whole, ov.Core().read_model(str(ir)), learn)
    else:
        quantize_search(whole, feature_outputs(whole)[0])
    return whole


def _patches(
    exact: ov.Model, networks: ov.Model, learn: Sequence[UInt8Image]
) -> Iterator[tuple[Float32, Float32]]:
    """Patches (P, D) of every picture, as both networks see them."""
    before, behind = compiled(exact), compiled(networks)
    for picture in track(learn, "INT8: memory bank"):
        one, other = (np.array(run(picture[None])[0])[0] for run in (before, behind))
        yield one.reshape(len(one), -1).T, other.reshape(len(other), -1).T


def match_maps(quantized: ov.Model, exact: ov.Model, pictures: Sequence[UInt8Image]) -> None:
    """Scale the maps of the quantized graph like those of the exact one.

    Args:
        quantized: whole graph with quantized networks; it is changed.
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
    run = compiled(model)
    maps = [
        np.array(run(picture[None])["anomaly_map"])
        for picture in track(pictures[:MAX_MAPS], "INT8: maps")
    ]
    return np.asarray(np.quantile(np.stack(maps), QUANTILES))
