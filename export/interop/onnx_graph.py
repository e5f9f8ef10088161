"""The same for an anomalib export in ONNX; see :mod:`export.interop.openvino_graph`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

from export.interop.openvino_graph import cell_hw, descriptor_length
from runtime.engines.base import ANOMALY_MAP, EMBEDDING, PRED_SCORE
from runtime.engines.outputs import INPUT

_PREFIX = "anomalib/"


def read_onnx(path: Path) -> onnx.ModelProto:
    """An ONNX file with the weights that lie beside it."""
    return onnx.load(str(path))


def with_picture_input(
    source: onnx.ModelProto, size_hw: tuple[int, int], map_hw: tuple[int, int]
) -> onnx.ModelProto:
    """A graph as docs/bundle.md describes it.

    Args:
        source: input float32 (n, 3, H, W) in [0, 1], outputs ``pred_score`` and ``anomaly_map``.
        size_hw: height and width of the pictures.
        map_hw: height and width of the anomaly map.
    """
    model = compose.add_prefix(source, _PREFIX)
    graph, node, cell = model.graph, helper.make_node, list(cell_hw(map_hw))
    (given,) = [one.name for one in graph.input]
    heat, score = f"{_PREFIX}{ANOMALY_MAP}", f"{_PREFIX}{PRED_SCORE}"
    for name in (heat, score):
        _unclamp(graph, name)
    constants = {
        "white": np.float32(255),
        "score_shape": np.array([1], np.int64),
        "map_shape": np.array([1, 1, *map_hw], np.int64),
        "flat_shape": np.array([1, -1], np.int64),
    }
    before = [
        node("Cast", [INPUT], ["float"], to=TensorProto.FLOAT),
        node("Div", ["float", "white"], ["share"]),
        node("Transpose", ["share"], [given], perm=[0, 3, 1, 2]),
    ]
    after = [
        node("Reshape", [score, "score_shape"], [PRED_SCORE]),
        node("Reshape", [heat, "map_shape"], [ANOMALY_MAP]),
        node("MaxPool", [ANOMALY_MAP], ["pooled"], kernel_shape=cell, strides=cell, ceil_mode=1),
        # The lowest value in words that every opset has.
        node("Neg", ["pooled"], ["negative"]),
        node("GlobalMaxPool", ["negative"], ["highest_negative"]),
        node("Add", ["pooled", "highest_negative"], ["above"]),
        node("Reshape", ["above", "flat_shape"], ["flat"]),
        node("LpNormalization", ["flat"], [EMBEDDING], axis=1, p=2),
    ]
    value = helper.make_tensor_value_info
    inner = list(graph.node)
    del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
    graph.node.extend([*before, *inner, *after])
    graph.input.append(value(INPUT, TensorProto.UINT8, [1, *size_hw, 3]))
    graph.output.extend(
        [
            value(PRED_SCORE, TensorProto.FLOAT, [1]),
            value(ANOMALY_MAP, TensorProto.FLOAT, [1, 1, *map_hw]),
            value(EMBEDDING, TensorProto.FLOAT, [1, descriptor_length(map_hw)]),
        ]
    )
    graph.initializer.extend(
        [numpy_helper.from_array(np.asarray(one), name) for name, one in constants.items()]
    )
    onnx.checker.check_model(model)
    return model


def _unclamp(graph: onnx.GraphProto, output: str) -> None:
    """Make a clamp to [0, 1] at the very end of a graph, behind choices alone, do nothing."""
    made_by = {name: one for one in graph.node for name in one.output}
    one = made_by.get(output)
    if one is None:
        return
    if one.op_type in ("Where", "Identity"):
        for name in one.input[-2:]:
            _unclamp(graph, name)
    elif one.op_type == "Clip" and [_number(graph, name) for name in one.input[1:]] == [0.0, 1.0]:
        one.op_type = "Identity"
        del one.input[1:]


def _number(graph: onnx.GraphProto, name: str) -> float | None:
    tensors = [one for one in graph.initializer if one.name == name]
    tensors += [
        attribute.t
        for node in graph.node
        if node.op_type == "Constant" and name in node.output
        for attribute in node.attribute
        if attribute.name == "value"
    ]
    return float(numpy_helper.to_array(tensors[0]).reshape(-1)[0]) if tensors else None
