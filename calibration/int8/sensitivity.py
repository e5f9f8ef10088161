"""Which layers of a network quantisation hurts most, and which to leave alone first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from runtime.engines.quiet import opset13, ov
from runtime.types import UInt8Image

_CONVOLUTIONS = ("Convolution", "GroupConvolution")
MAX_PICTURES = 4


def shallowest_first(features: ov.Model) -> list[str]:
    """Names of the convolutions in the order in which they are best left in fp32.

    An error of an early layer goes through all that follow, so it counts for more than its own
    noise says.

    Args:
        features: fp32 networks.
    """
    depth: dict[str, int] = {}
    names = []
    for node in features.get_ordered_ops():
        before = [value.get_node().get_friendly_name() for value in node.input_values()]
        is_convolution = node.get_type_name() in _CONVOLUTIONS
        if is_convolution:
            names.append(node.get_friendly_name())
        depth[node.get_friendly_name()] = (
            max((depth[name] for name in before), default=0) + is_convolution
        )
    return sorted(names, key=lambda name: depth[name])


def sensitive_layers(
    exact: ov.Model, quantized: ov.Model, pictures: Sequence[UInt8Image]
) -> list[tuple[str, float]]:
    """Convolutions by the noise that they add, worst first.

    Noise is the mean squared difference of a layer's output, over its variance. Noise is handed on
    from layer to layer, so a layer is judged by its rise over the layer before.

    Args:
        exact: fp32 networks.
        quantized: the same in INT8.
        pictures: uint8 (H, W, 3), a few of good parts.

    Returns:
        Names of operations with the rise of noise over variance there.
    """
    names = [
        node.get_friendly_name()
        for node in exact.get_ordered_ops()
        if node.get_type_name() in _CONVOLUTIONS
    ]
    there = {node.get_friendly_name() for node in quantized.get_ops()}
    names = [name for name in names if name in there]
    noise = np.zeros(len(names))
    before, behind = (_inside(model, names) for model in (exact, quantized))
    for picture in pictures[:MAX_PICTURES]:
        one, other = before(picture[None]), behind(picture[None])
        for index in range(len(names)):
            expected, found = np.asarray(one[index]), np.asarray(other[index])
            noise[index] += float(
                ((expected - found) ** 2).mean() / max(float(expected.var()), 1e-12)
            )
    noise /= max(1, min(len(pictures), MAX_PICTURES))
    rise = np.diff(noise, prepend=0.0)
    return [(names[index], float(rise[index])) for index in np.argsort(-rise, kind="stable")]


def _inside(model: ov.Model, names: Sequence[str]) -> ov.CompiledModel:
    """A copy of a network that shows the outputs of some of its operations."""
    copied = model.clone()
    nodes = {node.get_friendly_name(): node for node in copied.get_ops()}
    results = [opset13.result(nodes[name].output(0)) for name in names]
    shown = ov.Model(results, copied.get_parameters(), "inside")
    return ov.Core().compile_model(shown, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
