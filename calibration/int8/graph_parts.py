"""Taking a graph apart where its networks end and its distances begin, and putting it together again.

Export gives the tensors between the two the names ``features0``, ``features1``, ... Only what comes
before them may be
quantised: |x|^2 + |y|^2 - 2xy is a small difference of large numbers.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runtime.engines.base import FEATURES_PREFIX
from runtime.engines.quiet import opset13, ov
from runtime.engines.winograd import replace_output
from runtime.errors import BundleError

MEMORY_BANK = "memory_bank"


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
    results = [opset13.result(output) for output in feature_outputs(model)]
    return ov.Model(results, model.get_parameters(), "features")


@contextmanager
def _torch_says_nothing() -> Iterator[None]:
    """OpenVINO first offers every file to torch, where that is installed, which logs a stack trace of its refusal."""

    def refuse(_: logging.LogRecord) -> bool:
        return False

    logger = logging.getLogger("torch.export")
    logger.addFilter(refuse)
    try:
        yield
    finally:
        logger.removeFilter(refuse)


def graft(model: ov.Model, features: ov.Model) -> ov.Model:
    """The distances of one graph behind the networks of another.

    Args:
        model: whole graph, whose networks are replaced; it is changed.
        features: from :func:`feature_model`, maybe quantised; it becomes part of the result.

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


def constant(model: ov.Model, name: str) -> ov.Node | None:
    """The constant of that name, if there is one."""
    constants = (node for node in model.get_ops() if node.get_type_name() == "Constant")
    return next((node for node in constants if node.get_friendly_name() == name), None)


def replace_constant(old: ov.Node, new: ov.Node) -> None:
    """Put another constant in the place of one, under its name."""
    replace_output(old.output(0), new.output(0))
    new.set_friendly_name(old.get_friendly_name())


def tensor(model: ov.Model, name: str) -> ov.Output | None:
    """The tensor of that name inside a graph, if there is one."""
    outputs = (output for node in model.get_ops() for output in node.outputs())
    return next((output for output in outputs if name in output.get_names()), None)


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
    found: dict[str, ov.Output] = {}
    for node in model.get_ops():
        for output in node.outputs():
            for name in output.get_names():
                if name.startswith(FEATURES_PREFIX) and name[len(FEATURES_PREFIX) :].isdigit():
                    found[name] = output
    if not found:
        raise BundleError(
            "INT8: expected a graph whose features have names, found one of an older export; "
            "make the bundle again with: lineside train"
        )
    return [
        found[name] for name in sorted(found, key=lambda name: int(name[len(FEATURES_PREFIX) :]))
    ]
