"""Average pooling between convolutions, as a convolution that INT8 computes too."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from runtime.engines.quiet import opset13, ov
from runtime.engines.winograd import replace_output

POOLING = "AvgPool"


def pooling_as_convolutions(model: ov.Model, left: Collection[str] = ()) -> None:
    """Each average pooling becomes a convolution of every channel by itself, with equal weights.

    Pooling in fp32 would have the convolution before it write floats, and OpenVINO's own INT8
    pooling of a padded picture returns other numbers than its simulation. One weight a channel is
    exact in any number of bits.

    Args:
        model: changed; pooling that leaves the border out of its mean, or rounds its size up,
            stays.
        left: names of convolutions that stay in fp32, and the pooling of what they compute with
            them.
    """
    for node in model.get_ops():
        if node.get_type_name() != POOLING:
            continue
        how = node.get_attributes()
        if how["exclude-pad"] or how["rounding_type"] != "floor" or how["auto_pad"] != "explicit":
            continue
        if _convolution_before(node) in left:
            continue
        channels = node.get_input_shape(0)[1]
        weights = np.full(
            (channels, 1, 1, *how["kernel"]), 1.0 / np.prod(how["kernel"]), np.float32
        )
        convolution = opset13.group_convolution(
            node.input_value(0),
            opset13.constant(weights),
            how["strides"],
            how["pads_begin"],
            how["pads_end"],
            [1, 1],
        )
        convolution.set_friendly_name(f"{node.get_friendly_name()}/as_convolution")
        replace_output(node.output(0), convolution.output(0))
    model.validate_nodes_and_infer_types()


def _convolution_before(node: ov.Node) -> str | None:
    """Name of the convolution whose output a node reads, through what computes each number by itself."""
    while node.get_input_size() > 0:
        node = node.input_value(0).get_node()
        if "Convolution" in node.get_type_name():
            return str(node.get_friendly_name())
    return None
