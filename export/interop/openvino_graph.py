"""An anomalib export in OpenVINO's format, made to take uint8 pictures and to describe them."""

from __future__ import annotations

import math

import numpy as np

from runtime.engines.base import ANOMALY_MAP, EMBEDDING, PRED_SCORE
from runtime.engines.outputs import INPUT
from runtime.engines.quiet import opset13 as ops
from runtime.engines.quiet import ov

# The descriptor tells where the heat lies: the largest value of each of so many squared cells.
CELLS = 8


def cell_hw(map_hw: tuple[int, int]) -> tuple[int, int]:
    """Height and width of a cell in pixels of the map."""
    return math.ceil(map_hw[0] / CELLS), math.ceil(map_hw[1] / CELLS)


def descriptor_length(map_hw: tuple[int, int]) -> int:
    """Number of cells."""
    return math.prod(math.ceil(a / b) for a, b in zip(map_hw, cell_hw(map_hw), strict=True))


def with_picture_input(model: ov.Model, size_hw: tuple[int, int]) -> ov.Model:
    """Scaling and layout before the graph, contract outputs after it; the model is changed.

    anomalib's post-processor clamps to [0, 1]; that is left out, so that scores beyond keep their
    order. Where a model was exported without normalization they are raw anyway.

    Args:
        model: input float32 (n, 3, H, W) in [0, 1], outputs ``pred_score`` and ``anomaly_map``.
        size_hw: height and width of the pictures.

    Returns:
        A graph as docs/bundle.md describes it.
    """
    model.reshape([1, 3, *size_hw])
    prepare = ov.preprocess.PrePostProcessor(model)
    one = prepare.input()
    one.tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    one.model().set_layout(ov.Layout("NCHW"))
    one.preprocess().convert_element_type(ov.Type.f32).scale(255.0)
    model = prepare.build()
    score = _unclamped(model.output(PRED_SCORE))
    heat = _unclamped(model.output(ANOMALY_MAP))
    map_hw = tuple(heat.get_shape()[-2:])
    heat = ops.reshape(heat, np.array([1, 1, *map_hw]), special_zero=False).output(0)
    pooled = ops.max_pool(
        heat, cell_hw(map_hw), [1, 1], [0, 0], [0, 0], cell_hw(map_hw), rounding_type="ceil"
    ).output(0)
    lowest = ops.reduce_min(pooled, np.array([2, 3]), keep_dims=True)
    flat = ops.reshape(ops.subtract(pooled, lowest), np.array([1, -1]), special_zero=False)
    outputs = {
        PRED_SCORE: ops.reshape(score, np.array([1]), special_zero=False),
        ANOMALY_MAP: ops.convert(heat, "f32"),
        EMBEDDING: ops.normalize_l2(flat, np.array([1]), eps=1e-12, eps_mode="max"),
    }
    for node in model.get_ops():
        for output in node.outputs():
            output.set_names(output.get_names() - {*outputs, INPUT})
    for name, node in outputs.items():
        node.output(0).set_names({name})
    (picture,) = model.get_parameters()
    picture.output(0).set_names({INPUT})
    return ov.Model([ops.result(node) for node in outputs.values()], [picture], "imported")


def _unclamped(output: ov.Output) -> ov.Output:
    """What is clamped to [0, 1] at the very end of a graph, before it is."""
    node = output.get_node()
    if node.get_type_name() == "Result":
        return _unclamped(node.input_value(0))
    if node.get_type_name() == "Select":
        for index in (1, 2):
            inner = node.input_value(index)
            if (bare := _unclamped(inner)) is not inner:
                node.input(index).replace_source_output(bare)
        return output
    bounds = node.get_attributes() if node.get_type_name() == "Clamp" else {}
    return node.input_value(0) if (bounds.get("min"), bounds.get("max")) == (0, 1) else output
