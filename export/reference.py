"""Scores and maps of pictures: from the fitted network, a certificate's reference, or an engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from runtime.engines.base import Engine
from runtime.errors import ImageError
from runtime.images.preprocess import load_image
from runtime.progress import track
from runtime.types import Float32Map, Floats, UInt8Image


@dataclass(frozen=True)
class Scored:
    """Scores and maps of images in order.

    Attributes:
        scores: raw scores (n,).
        maps: float32 (h, w) each, before smoothing: that is the runtime's work, done on demand.
    """

    scores: Floats
    maps: list[Float32Map]


class ReferenceModel:
    """A fitted network, called as anomalib's Engine calls it to predict.

    Args:
        model: it is set to eval mode.
        smoothing: the module in it that smooths the anomaly map; the map is caught on its way in.
    """

    def __init__(self, model: nn.Module, smoothing: nn.Module) -> None:
        self._model = model.eval()
        self._before_smoothing = torch.empty(0)
        smoothing.register_forward_pre_hook(self._keep)

    def _keep(self, _module: Any, args: tuple[torch.Tensor, ...]) -> None:
        self._before_smoothing = args[0].detach().clone()

    def predict(self, image_rgb: UInt8Image) -> tuple[float, Float32Map]:
        """Raw score and map, float32 (h, w), of one image.

        Args:
            image_rgb: uint8 (H, W, 3), RGB, at the model's size.
        """
        batch = torch.from_numpy(image_rgb).permute(2, 0, 1)[None].float() / 255.0
        with torch.no_grad():
            result = self._model(batch)
        found = self._before_smoothing.squeeze().numpy().astype(np.float32).copy()
        return float(result.pred_score.reshape(-1)[0]), found


def load_images(paths: Sequence[Path], size_hw: tuple[int, int]) -> list[UInt8Image]:
    """Pictures at the model's size, without unreadable ones, which were reported before."""
    images = []
    for path in paths:
        try:
            images.append(load_image(path, size_hw))
        except ImageError:
            continue
    return images


def score_reference(model: ReferenceModel, images: Sequence[UInt8Image], what: str) -> Scored:
    """The network's results."""
    found = [model.predict(image) for image in track(images, f"reference: {what}")]
    return Scored(np.array([score for score, _ in found]), [one for _, one in found])


def score_engine(engine: Engine, images: Sequence[UInt8Image], what: str) -> Scored:
    """An engine's results."""
    outputs = [engine.run({"image": image[None]}) for image in track(images, what)]
    scores = np.array([float(np.asarray(o["pred_score"]).reshape(-1)[0]) for o in outputs])
    return Scored(scores, [np.asarray(o["anomaly_map"], dtype=np.float32)[0, 0] for o in outputs])
