"""Convolutions with fewer multiplications: Winograd's minimal filtering along the rows.

A kernel of r rows takes 4 r products for four rows of its output; four rows and r + 3 sums of input
rows can be had with r + 3. So a convolution with r = 4 needs 7/16 of the products, one with r = 3
half. What is added is cheap, and engines are good at it: the sums of rows are depthwise
convolutions, each of the r + 3 products is an ordinary convolution with a kernel of one row, and
their results are added up in four ways.

Along the columns nothing changes. Doing the same there would save more products, at ten times the
rounding error and with twice the additions.

Owner: whoever maintains ``runtime``. It brings EfficientAD in fp32 in two thirds of the time, a
convolution of 256 to 768 channels in 43 ms instead of 89 (docs/speed.md). ``LINESIDE_WINOGRAD=off``
in the environment switches it off. Whoever lets a newer OpenVINO into pyproject.toml runs
``lineside bench`` on an EfficientAD bundle with and without it: when OpenVINO's own convolutions
are as fast, delete this module and its call in ``runtime/engines/openvino.py``.

Source: S. Winograd, Arithmetic Complexity of Computations, 1980; A. Lavin and S. Gray, Fast
Algorithms for Convolutional Neural Networks, CVPR 2016.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from runtime.engines.quiet import opset13, ov
from runtime.types import Float32, Float64

SWITCH = "LINESIDE_WINOGRAD"
ROWS = 4
KERNEL_ROWS = (3, 4)
# With fewer channels in or out the additions take as long as the products that are saved.
MIN_CHANNELS = 64
# Constant fp32 weights of such a convolution, as OpenVINO writes them into a model's .xml.
_WEIGHTS = re.compile(r'element_type="f32" shape="(\d+), ?(\d+), ?(\d+), ?\3"')
# Where the polynomials are evaluated, beside infinity. The smaller the numbers, the smaller the
# rounding errors.
_POINTS = (0.0, 1.0, -1.0, 2.0, -2.0, 0.5)


class Transforms(NamedTuple):
    """For outputs y, kernel g and input d along one axis: y = outputs ((kernel g) * (inputs d)).

    Attributes:
        outputs: (m, n), with m outputs at once and n = m + r - 1.
        kernel: (n, r).
        inputs: (n, n).
    """

    outputs: Float64
    kernel: Float64
    inputs: Float64


def transforms(kernel_rows: int, rows: int = ROWS) -> Transforms:
    """The matrices of F(m, r), after Toom and Cook, from the points above and infinity.

    Args:
        kernel_rows: r.
        rows: m, at most 8 - r.
    """
    points = np.array(_POINTS[: rows + kernel_rows - 2])
    count = len(points) + 1
    outputs, kernel, inputs = (
        np.zeros((rows, count)),
        np.zeros((count, kernel_rows)),
        np.zeros((count, count)),
    )
    for at, point in enumerate(points):
        others = np.delete(points, at)
        outputs[:, at] = point ** np.arange(rows)
        kernel[at] = point ** np.arange(kernel_rows) / np.prod(point - others)
        inputs[at, :-1] = np.poly(others)[::-1]
    outputs[-1, -1] = kernel[-1, -1] = 1.0
    inputs[-1] = np.poly(points)[::-1]
    # Sums of input rows as large as a row, so that no product is much larger than another.
    scale = np.abs(inputs).sum(axis=1, keepdims=True)
    return Transforms(outputs, kernel * scale, inputs / scale)


def is_switched_on() -> bool:
    """Whether the environment variable ``LINESIDE_WINOGRAD`` does not say ``off``."""
    return os.environ.get(SWITCH, "").lower() != "off"


def may_have_such(path: Path) -> bool:
    """Whether a model can hold what :func:`with_fewer_products` replaces; reads no weights.

    Args:
        path: a model file; of any but an .xml the answer is yes.
    """
    if path.suffix != ".xml":
        return True
    try:
        described = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        # The engine says what is wrong with the file.
        return True
    return any(_is_wide(*map(int, shape)) for shape in _WEIGHTS.findall(described))


def with_fewer_products(model: ov.Model) -> int:
    """Compute the convolutions of a model where that pays with fewer multiplications.

    Those are convolutions in fp32 with constant weights and kernels of 3 x 3 or 4 x 4, stride 1,
    between wide tensors. The results differ as those of another order of additions do, by about
    1e-6 of the largest.

    Args:
        model: static shapes, NCHW; it is changed.

    Returns:
        How many convolutions were replaced.
    """
    chosen = [node for node in model.get_ordered_ops() if _pays(node)]
    for node in chosen:
        _replace(node)
    if chosen:
        model.validate_nodes_and_infer_types()
    return len(chosen)


def _pays(node: ov.Node) -> bool:
    if node.get_type_name() != "Convolution" or node.get_output_partial_shape(0).is_dynamic:
        return False
    weights = node.input_value(1)
    if (
        weights.get_node().get_type_name() != "Constant"
        or weights.get_element_type() != ov.Type.f32
    ):
        return False
    shape = list(weights.get_shape())
    attributes = node.get_attributes()
    return (
        len(shape) == 4
        and shape[2] == shape[3]
        and _is_wide(*shape[:3])
        and node.get_output_shape(0)[2] >= ROWS
        and list(attributes["strides"]) == [1, 1]
        and list(attributes["dilations"]) == [1, 1]
        and attributes.get("auto_pad", "explicit") == "explicit"
    )


def _is_wide(channels_out: int, channels_in: int, kernel_rows: int) -> bool:
    return kernel_rows in KERNEL_ROWS and min(channels_out, channels_in) >= MIN_CHANNELS


def _replace(node: ov.Node) -> None:
    """Put the rows of a convolution, with bias and ReLU where they follow, in its place."""
    last, bias = node, None
    follower = _only_reader(last)
    if follower is not None and follower.get_type_name() == "Add":
        bias = _channel_constant(follower, last)
        last = last if bias is None else follower
    follower = _only_reader(last)
    rectified = follower is not None and follower.get_type_name() == "Relu"
    last = follower if rectified and follower is not None else last

    rows = _rows(node, bias)
    if rectified:
        rows = [opset13.relu(row) for row in rows]
    together = _interleaved(rows, last.get_output_shape(0))
    together.set_friendly_name(last.get_friendly_name())
    replace_output(last.output(0), together.output(0))


def _interleaved(rows: list[ov.Node], shape: ov.Shape) -> ov.Node:
    """Rows in their order; with the channels last, as the engine has it, whole rows are copied."""
    batch, channels, height, width = (int(size) for size in shape)
    apart = [
        opset13.unsqueeze(opset13.transpose(row, _constant(0, 2, 3, 1)), _constant(2))
        for row in rows
    ]
    together = opset13.reshape(
        opset13.concat(apart, 2), _constant(batch, -1, width, channels), False
    )
    if together.get_output_shape(0)[1] != height:
        together = opset13.slice(
            together, _constant(0), _constant(height), _constant(1), _constant(1)
        )
    return opset13.transpose(together, _constant(0, 3, 1, 2))


def _constant(*values: int) -> ov.Node:
    return opset13.constant(np.array(values))


def _rows(node: ov.Node, bias: Float32 | None) -> list[ov.Node]:
    """Every fourth row of a convolution's output: from the first on, from the second on, and so on.

    Returns:
        Four tensors (N, O, ceil(h / 4), w).
    """
    attributes = node.get_attributes()
    (top, left), (bottom, right) = attributes["pads_begin"], attributes["pads_end"]
    weights = np.array(node.input_value(1).get_node().get_data(), dtype=np.float64)
    found = transforms(weights.shape[2])
    picture = node.input_value(0)
    channels, height = int(picture.get_shape()[1]), int(picture.get_shape()[2])
    # The last group of rows may reach beyond the picture; what it computes there is cut off.
    groups = -(-int(node.get_output_shape(0)[2]) // ROWS)
    beyond = groups * ROWS + weights.shape[2] - 1 - (height + top + bottom)
    products = []
    for at, (of_kernel, of_input) in enumerate(zip(found.kernel, found.inputs, strict=True)):
        column = np.broadcast_to(
            of_input.astype(np.float32)[None, None, None, :, None],
            (channels, 1, 1, len(of_input), 1),
        )
        summed = opset13.group_convolution(
            picture,
            opset13.constant(np.ascontiguousarray(column)),
            [ROWS, 1],
            [top, 0],
            [bottom + beyond, 0],
            [1, 1],
        )
        kernel = np.einsum("r,oirc->oic", of_kernel, weights)[:, :, None, :].astype(np.float32)
        product = opset13.convolution(
            summed, opset13.constant(kernel), [1, 1], [0, left], [0, right], [1, 1]
        )
        # At the point 1 every output takes the product as it is: there the bias reaches all of
        # them.
        products.append(
            opset13.add(product, opset13.constant(bias))
            if bias is not None and at == 1
            else product
        )
    return [_weighted_sum(products, row) for row in found.outputs]


def _weighted_sum(products: list[ov.Node], row: Float64) -> ov.Node:
    total: ov.Node | None = None
    for product, weight in zip(products, row, strict=True):
        if weight == 0.0:
            continue
        part = (
            product
            if weight == 1.0
            else opset13.multiply(product, opset13.constant(np.float32(weight)))
        )
        total = part if total is None else opset13.add(total, part)
    assert total is not None
    return total


def _only_reader(node: ov.Node) -> ov.Node | None:
    """The one operation that reads what this one computes; None where several do."""
    readers = node.output(0).get_target_inputs()
    return next(iter(readers)).get_node() if len(readers) == 1 else None


def _channel_constant(add: ov.Node, convolution: ov.Node) -> Float32 | None:
    """The bias (1, O, 1, 1) that an addition adds to a convolution, or None."""
    others = [add.input_value(at).get_node() for at in (0, 1)]
    constants = [other for other in others if other.get_type_name() == "Constant"]
    channels = int(convolution.get_output_shape(0)[1])
    if len(constants) != 1 or list(constants[0].get_output_shape(0)) != [1, channels, 1, 1]:
        return None
    return np.array(constants[0].get_data(), dtype=np.float32)


def replace_output(old: ov.Output, new: ov.Output) -> None:
    """Give all that reads a tensor another one, under its names."""
    names = old.get_names()
    for reader in old.get_target_inputs():
        reader.replace_source_output(new)
    old.set_names(set())
    new.set_names(names)
