"""From a traceable module to ONNX and OpenVINO IR with the bundle's graph contract."""

from __future__ import annotations

import copy
import logging
import warnings
from pathlib import Path

import onnx
import torch

from export.inference_graph import InferenceGraph
from runtime.engines.base import OUTPUTS
from runtime.engines.quiet import ov
from runtime.errors import ParityError

OPSET = 18


def to_onnx(graph: InferenceGraph, size_hw: tuple[int, int], path: Path) -> None:
    """Write a static ONNX graph: uint8 (1, H, W, 3) ``image`` in; the three contract outputs out.

    Args:
        graph: module in eval mode.
        size_hw: input height and width.
        path: target .onnx file; weights are inside.
    """
    example = torch.zeros((1, *size_hw, 3), dtype=torch.uint8)
    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        marked = copy.deepcopy(graph).eval()
        marked.marks_seams = True
        seams = list(marked.seams(example))
        program = torch.onnx.export(
            marked,
            (example,),
            input_names=["image"],
            output_names=[*OUTPUTS, *seams],
            opset_version=OPSET,
            dynamo=True,
            optimize=True,
            verbose=False,
        )
    if program is None:
        raise ParityError(
            "export: expected an ONNX program, found none; report this with the versions in "
            "bundle.json"
        )
    model = program.model_proto
    model.doc_string = ""
    # The names stay on the tensors inside; only the contract's outputs leave the graph.
    del model.graph.output[len(OUTPUTS) :]
    for node in model.graph.node:
        # Exporter metadata names the workstation's source files; the bundle is about the model
        # alone.
        del node.metadata_props[:]
        node.doc_string = ""
    onnx.checker.check_model(model)
    onnx.save(model, path)


def to_openvino(onnx_path: Path, path: Path) -> None:
    """Convert an ONNX graph to OpenVINO IR, weights kept in fp32.

    Args:
        onnx_path: source.
        path: target .xml; the .bin is written beside it.
    """
    model = ov.Core().read_model(str(onnx_path))
    ov.serialize(model, str(path), str(path.with_suffix(".bin")))
