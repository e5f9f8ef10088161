"""What inference graphs share: input, smoothing, descriptor, and the way to ONNX and OpenVINO."""

from __future__ import annotations

import copy
import logging
import warnings
from abc import abstractmethod
from pathlib import Path
from typing import Any

import onnx
import torch
from onnxscript.optimizer import optimize_ir
from torch import nn
from torch.nn import functional as F  # noqa: N812

from calibration.learning.patch_scores import bound_and_scale
from export.backbones.extractors import Normalization
from runtime.engines.base import FEATURES_PREFIX, OUTPUTS
from runtime.errors import ParityError


class InferenceGraph(nn.Module):
    """uint8 image to (pred_score, anomaly_map, embedding), in parts that can be told apart.

    Quantisation may touch what comes before the features; distances between them stay in fp32,
    unless another search for the nearest prototype takes the place of the tensors that :meth:`read`
    names.

    Attributes:
        marks_seams: whether :meth:`forward` returns the seams after the three outputs, so that an
            exporter names them.
        replaceable: buffers that stay constants of the exported graph, however small, so that
            another model's can take their place.
    """

    marks_seams = False
    replaceable: tuple[str, ...] = ()

    @abstractmethod
    def features(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """What the networks say, float32 (1, C, h, w) each."""

    @abstractmethod
    def read(self, *features: torch.Tensor) -> dict[str, torch.Tensor]:
        """The three outputs from what the networks say, and tensors on the way, by name."""

    def seams(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """Tensors where one part ends and another begins, by name (``runtime.engines.base``)."""
        return self._run(image)[1]

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Run.

        Args:
            image: uint8 (1, H, W, 3), RGB.

        Returns:
            pred_score float32 (1,), anomaly_map float32 (1, 1, h, w), embedding float32 (1, D).
        """
        outputs, seams = self._run(image)
        return (*outputs, *seams.values()) if self.marks_seams else outputs

    def _run(self, image: torch.Tensor) -> tuple[tuple[torch.Tensor, ...], dict[str, torch.Tensor]]:
        return self._with_seams(self.features(image))

    def _with_seams(
        self, features: tuple[torch.Tensor, ...]
    ) -> tuple[tuple[torch.Tensor, ...], dict[str, torch.Tensor]]:
        """The contract's outputs and the seams, from what the networks say."""
        named = self.read(*features)
        outputs = tuple(named.pop(name) for name in OUTPUTS)
        return outputs, {
            **{f"{FEATURES_PREFIX}{index}": one for index, one in enumerate(features)},
            **named,
        }


class Uint8Input(nn.Module):
    """uint8 (1, H, W, 3) RGB to float32 (1, 3, H, W), normalised.

    Args:
        normalization: of the backbone, or None to stop at [0, 1].
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, normalization: Normalization | None) -> None:
        super().__init__()
        chosen = normalization or Normalization((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        # 255 folded into the constants: one subtraction and one multiplication per value.
        self.register_buffer("mean", torch.tensor(chosen.mean) * 255.0)
        self.register_buffer("scale", 1.0 / (torch.tensor(chosen.std).view(1, 3, 1, 1) * 255.0))
        self.scale: torch.Tensor

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Scale and normalise."""
        return (image.float() - self.mean).permute(0, 3, 1, 2) * self.scale


class SeparableGaussian(nn.Module):
    """anomalib's GaussianBlur2d as two one-dimensional convolutions, at a fraction of the work.

    Args:
        sigma: deviation in cells of the map; 0 leaves the map as it is.
    """

    kernel: torch.Tensor

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.radius = int(4.0 * sigma + 0.5)
        places = torch.arange(-self.radius, self.radius + 1, dtype=torch.float64)
        weights = torch.exp(-places.square() / (2.0 * max(sigma, 1e-12) ** 2))
        self.register_buffer("kernel", (weights / weights.sum()).float().view(1, 1, 1, -1))

    def forward(self, anomaly_map: torch.Tensor) -> torch.Tensor:
        """Smooth (N, 1, H, W) with reflected borders."""
        if self.radius == 0:
            return anomaly_map
        r = self.radius
        padded = F.pad(anomaly_map, (r, r, r, r), mode="reflect")
        return F.conv2d(F.conv2d(padded, self.kernel), self.kernel.transpose(2, 3))


# Weight of the last dimension against the direction, which has length 1, and its bounds: how far
# beyond the threshold says little of the kind of defect.
_JUDGEMENT_WEIGHT = 0.7
_BOUNDS = (-1.0, 1.0)


def good_scores_buffer(good_scores: tuple[float, float]) -> torch.Tensor:
    """The two scores as the graph's constant.

    Args:
        good_scores: raw score of a typical good part, and the bound that few good ones exceed.

    Returns:
        float32 (2,): the bound, and one over the span between the two.
    """
    return torch.tensor(bound_and_scale(*good_scores))


def defect_descriptor(
    direction: torch.Tensor,
    score: torch.Tensor,
    good_scores: torch.Tensor | tuple[torch.Tensor, torch.Tensor],
) -> torch.Tensor:
    """Which way a part differs from good ones, and whether it differs at all, as one unit vector.

    The direction alone makes a slightly unusual good part as near to a defect as another defect is.
    One more dimension carries how far the part's score is from those of good parts: two flagged
    parts agree in it, a flagged and a good one disagree. It is bounded, so that the direction
    decides among parts of one kind.

    Args:
        direction: float32 (1, C), any length.
        score: the raw score, float32 with one element.
        good_scores: from :func:`good_scores_buffer`.

    Returns:
        float32 (1, C + 1), L2-normalised.
    """
    excess = (score.reshape(1, 1) - good_scores[0]) * good_scores[1]
    judgment = _JUDGEMENT_WEIGHT * excess.clamp(*_BOUNDS)
    return F.normalize(torch.cat([F.normalize(direction, dim=1), judgment], dim=1), dim=1)


OPSET = 18


def to_onnx(graph: InferenceGraph, size_hw: tuple[int, int], path: Path) -> None:
    """Write a static ONNX graph: uint8 (1, H, W, 3) ``image`` in; the three contract outputs out.

    Args:
        graph: module in eval mode.
        size_hw: input height and width.
        path: target .onnx file; weights are inside.
    """
    example = torch.zeros((1, *size_hw, 3), dtype=torch.uint8)
    for name in ("onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)
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
            optimize=False,
            verbose=False,
        )
    if program is None:
        raise ParityError(
            "export: expected an ONNX program, found none; report this with the versions in "
            "bundle.json"
        )
    within = program.model.graph
    # As an output a constant is not shared with others that happen to be equal.
    within.outputs.extend(within.initializers[name] for name in graph.replaceable)
    optimize_ir(program.model, should_fold=lambda node: _folds(node, graph.replaceable))
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


def _folds(node: Any, replaceable: tuple[str, ...]) -> bool | None:
    """Whether a node may become a constant; None leaves it to the optimizer's own rules."""
    of_those = any(value is not None and value.name in replaceable for value in node.inputs)
    return False if of_those else None
