"""Reading and changing OpenVINO graphs by the names that export gives to tensors."""

from __future__ import annotations

from pathlib import Path

from runtime.engines.quiet import ov
from runtime.engines.winograd import replace_output


def compiled(model: ov.Model) -> ov.CompiledModel:
    """A graph that runs on the CPU, in fp32 wherever nothing is quantized."""
    return ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


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


def to_openvino(onnx_path: Path, path: Path) -> None:
    """Convert an ONNX graph to OpenVINO IR, weights kept in fp32.

    Args:
        onnx_path: source.
        path: target .xml; the .bin is written beside it.
    """
    model = ov.Core().read_model(str(onnx_path))
    ov.serialize(model, str(path), str(path.with_suffix(".bin")))
