"""Weight files: state dicts without pickle's powers."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from runtime.errors import TrainingError


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
