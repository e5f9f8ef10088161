"""Surgery on an OpenVINO graph: apart where networks end and distances begin, and together again.

Export gives the tensors between the two the names ``features0``, ``features1``, ... Only what comes
before them may be quantized: |x|^2 + |y|^2 - 2xy is a small difference of large numbers.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from calibration.learning.ir import constant
from runtime.engines.base import FEATURES_PREFIX
from runtime.engines.quiet import opset13, ov
from runtime.engines.winograd import replace_output
from runtime.errors import BundleError

MEMORY_BANK = "memory_bank"
# Which patches lie in the region of interest: 1 or 0, (1, 1, h, w).
INSIDE = "inside.cells"
POOLING = "AvgPool"
# A filter does not hold for loggers below its own; releases of torch differ.
_TORCH_LOGGERS = ("torch.export", "torch.export.pt2_archive._package")


def feature_model(onnx_path: Path) -> ov.Model:
    """The networks of an exported graph: ``image`` in, one output a feature tensor.

    Args:
        onnx_path: the fp32 ONNX model; converting it anew folds constants, which NNCF's patterns
            need.

    Raises:
        BundleError: an older export, which did not name the features.
    """
    with _torch_says_nothing():
        model = ov.convert_model(onnx_path)
    return networks_of(model)


def networks_of(model: ov.Model) -> ov.Model:
    """The networks of a whole graph, fp32 or quantized: ``image`` in, one output a feature tensor.

    Raises:
        BundleError: an older export, which did not name the features.
    """
    results = [opset13.result(output) for output in feature_outputs(model)]
    return ov.Model(results, model.get_parameters(), "features")


@contextmanager
def _torch_says_nothing() -> Iterator[None]:
    """OpenVINO offers every file to torch first, which logs a stack trace of its refusal."""

    def refuse(_: logging.LogRecord) -> bool:
        return False

    loggers = [logging.getLogger(name) for name in _TORCH_LOGGERS]
    for logger in loggers:
        logger.addFilter(refuse)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(refuse)


def graft(model: ov.Model, features: ov.Model) -> ov.Model:
    """The distances of one graph behind the networks of another.

    Args:
        model: whole graph, whose networks are replaced; it is changed.
        features: from :func:`feature_model`, maybe quantized; it becomes part of the result.

    Returns:
        A whole graph with the same outputs.
    """
    for old, result in zip(feature_outputs(model), features.get_results(), strict=True):
        replace_output(old, result.input_value(0))
    whole = ov.Model(model.get_results(), features.get_parameters(), model.get_friendly_name())
    whole.validate_nodes_and_infer_types()
    return whole


def memory_bank(model: ov.Model) -> ov.Node | None:
    """PatchCore's bank, a constant float32 (K, D); None in other models."""
    return constant(model, MEMORY_BANK)


def after(model: ov.Model, kind: str) -> set[str]:
    """Names of all operations of a type, and of what is computed from them.

    Args:
        model: a graph.
        kind: OpenVINO's type name, e.g. ``AvgPool``.
    """
    names: set[str] = set()
    waiting = [node for node in model.get_ops() if node.get_type_name() == kind]
    while waiting:
        node = waiting.pop()
        if node.get_friendly_name() in names or node.get_type_name() == "Result":
            continue
        names.add(node.get_friendly_name())
        waiting.extend(
            target.get_node() for output in node.outputs() for target in output.get_target_inputs()
        )
    return names


def feature_outputs(model: ov.Model) -> list[ov.Output]:
    """The tensors that networks and distances share, in their order.

    Raises:
        BundleError: an older export, which did not name them.
    """
    found: dict[int, ov.Output] = {}
    for node in model.get_ops():
        for output in node.outputs():
            for name in output.get_names():
                number = name.removeprefix(FEATURES_PREFIX)
                if number != name and number.isdigit():
                    found[int(number)] = output
    if not found:
        raise BundleError(
            "INT8: expected a graph whose features have names, found one of an older export; make "
            "the bundle again with: lineside train"
        )
    return [found[number] for number in sorted(found)]


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
    """Name of the convolution that a node reads, through what computes each number by itself."""
    while node.get_input_size() > 0:
        node = node.input_value(0).get_node()
        if "Convolution" in node.get_type_name():
            return str(node.get_friendly_name())
    return None
