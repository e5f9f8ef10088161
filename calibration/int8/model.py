"""The whole graph of an INT8 variant, from the fp32 one and pictures to learn from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from calibration.int8.bank import rebuild_bank
from calibration.int8.graph_parts import (
    feature_model,
    feature_outputs,
    graft,
    memory_bank,
    replace_constant,
)
from calibration.int8.map_scale import match_maps
from calibration.int8.networks import quantize_networks
from calibration.int8.search import quantize_search
from runtime.engines.quiet import opset13, ov
from runtime.progress import track
from runtime.types import Float32, UInt8Image


def quantized_networks(onnx: Path, learn: Sequence[UInt8Image], left: Sequence[str]) -> ov.Model:
    """The networks of a graph in INT8.

    Args:
        onnx: the fp32 model, whose features have names.
        learn: good parts to learn from, uint8 (H, W, 3).
        left: operations that stay in fp32.
    """
    pooled_last = memory_bank(ov.Core().read_model(str(onnx))) is not None
    return quantize_networks(feature_model(onnx), learn, pooled_last=pooled_last, left=left)


def around_networks(
    onnx: Path, ir: Path, networks: ov.Model | None, learn: Sequence[UInt8Image]
) -> ov.Model:
    """The whole graph around quantised networks: the bank or the map's scale as they need it, the search in INT8.

    Args:
        onnx: the fp32 model, whose features have names.
        ir: the same as OpenVINO IR.
        networks: from :func:`quantized_networks`; they become part of the result. None leaves those
            of the graph.
        learn: good parts to learn from, uint8 (H, W, 3).
    """
    whole = ov.Core().read_model(str(ir))
    bank = memory_bank(whole)
    if networks is not None:
        if bank is not None:
            seen = _patches(feature_model(onnx), networks, learn)
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
    config = {"INFERENCE_PRECISION_HINT": "f32"}
    before, behind = (ov.Core().compile_model(model, "CPU", config) for model in (exact, networks))
    for picture in track(learn, "INT8: memory bank"):
        one, other = (np.array(compiled(picture[None])[0])[0] for compiled in (before, behind))
        yield one.reshape(len(one), -1).T, other.reshape(len(other), -1).T
