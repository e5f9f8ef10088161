"""Networks in INT8 by NNCF, and which of their layers to leave alone."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path

import numpy as np

from calibration.int8.graph import (
    POOLING,
    after,
    feature_model,
    memory_bank,
    pooling_as_convolutions,
)
from calibration.learning.ir import compiled
from runtime.engines.quiet import opset13, ov
from runtime.errors import require_extra
from runtime.types import UInt8Image

# More pictures change the ranges of the activations little and cost time.
MAX_STATISTICS = 40
# Of which the noise of layers is measured.
MAX_NOISE = 4
# What is quantised; of a transformer the products, too.
_LAYERS = ("Convolution", "GroupConvolution", "MatMul")
_ATTENTION = ("Softmax", "ScaledDotProductAttention")


def quantized_networks(
    onnx: Path, pictures: Sequence[UInt8Image], left: Collection[str] = ()
) -> ov.Model:
    """The networks of a graph in INT8.

    Activations keep the whole range that good parts have. NNCF's default, the mean of the pictures'
    maxima, cuts off what is unusual, and an anomaly is nothing else.

    Two choices make the same file say the same on every processor. Weights use seven bits
    ("overflow fix"): without VNNI products are added in 16 bits, which eight-bit weights overflow.
    And OpenVINO's INT8 pooling with padding returns other numbers than its own simulation, so
    average pooling becomes a convolution. Before a memory bank it comes last, and what follows
    describes patches: both stay in fp32.

    Args:
        onnx: the fp32 model, whose features have names.
        pictures: uint8 (H, W, 3), RGB, of good parts at the model's size; never test parts.
        left: names of further operations to leave in fp32.

    Raises:
        MissingExtraError: nncf is not installed.
        BundleError: an older export.
    """
    require_extra("calibrate", "nncf")
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    features = feature_model(onnx)
    pooled_last = memory_bank(ov.Core().read_model(str(onnx))) is not None
    if not pooled_last:
        pooling_as_convolutions(features, left)
    logging.getLogger("nncf").setLevel(logging.ERROR)
    pooling = {
        node.get_friendly_name() for node in features.get_ops() if node.get_type_name() == POOLING
    }
    ignored = pooling | set(left) | (after(features, POOLING) if pooled_last else set())
    shown = pictures[:MAX_STATISTICS]
    attends = any(node.get_type_name() in _ATTENTION for node in features.get_ops())
    with _progress_on_stderr():
        return nncf.quantize(
            features,
            nncf.Dataset(shown, lambda picture: np.ascontiguousarray(picture)[None]),
            preset=nncf.QuantizationPreset.MIXED,
            # What follows a softmax or a layer norm stays in fp32.
            model_type=nncf.ModelType.TRANSFORMER if attends else None,
            target_device=nncf.TargetDevice.CPU,
            subset_size=len(shown),
            fast_bias_correction=False,
            ignored_scope=nncf.IgnoredScope(names=sorted(ignored), validate=False),
            advanced_parameters=AdvancedQuantizationParameters(
                overflow_fix=OverflowFix.ENABLE,
                activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
            ),
        )


@contextmanager
def _progress_on_stderr() -> Iterator[None]:
    """NNCF draws its bars on stdout, which belongs to results."""
    with ExitStack() as stack:
        target = (
            sys.stderr if sys.stderr.isatty() else stack.enter_context(Path(os.devnull).open("w"))
        )
        stack.enter_context(redirect_stdout(target))
        yield


def shallowest_first(features: ov.Model) -> list[str]:
    """Names of the layers in the order in which they are best left in fp32.

    An error of an early layer goes through all that follow, so it counts for more than its own
    noise says.

    Args:
        features: fp32 networks.
    """
    depth: dict[str, int] = {}
    names = []
    for node in features.get_ordered_ops():
        before = [value.get_node().get_friendly_name() for value in node.input_values()]
        is_layer = node.get_type_name() in _LAYERS
        if is_layer:
            names.append(node.get_friendly_name())
        depth[node.get_friendly_name()] = (
            max((depth[name] for name in before), default=0) + is_layer
        )
    return sorted(names, key=lambda name: depth[name])


def sensitive_layers(
    exact: ov.Model, quantized: ov.Model, pictures: Sequence[UInt8Image]
) -> list[tuple[str, float]]:
    """Layers by the noise that they add, worst first.

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
        if node.get_type_name() in _LAYERS
    ]
    there = {node.get_friendly_name() for node in quantized.get_ops()}
    names = [name for name in names if name in there]
    noise = np.zeros(len(names))
    before, behind = (_inside(model, names) for model in (exact, quantized))
    for picture in pictures[:MAX_NOISE]:
        one, other = before(picture[None]), behind(picture[None])
        for index in range(len(names)):
            expected, found = np.asarray(one[index]), np.asarray(other[index])
            noise[index] += float(
                ((expected - found) ** 2).mean() / max(float(expected.var()), 1e-12)
            )
    noise /= max(1, min(len(pictures), MAX_NOISE))
    rise = np.diff(noise, prepend=0.0)
    return [(names[index], float(rise[index])) for index in np.argsort(-rise, kind="stable")]


def _inside(model: ov.Model, names: Sequence[str]) -> ov.CompiledModel:
    """A copy of a network that shows the outputs of some of its operations."""
    copied = model.clone()
    nodes = {node.get_friendly_name(): node for node in copied.get_ops()}
    results = [opset13.result(nodes[name].output(0)) for name in names]
    return compiled(ov.Model(results, copied.get_parameters(), "inside"))
