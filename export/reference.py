"""What anomalib's own torch model says: the reference of every certificate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from anomalib.models.components import AnomalibModule

from runtime.types import UInt8Image


@dataclass(frozen=True)
class Reference:
    """anomalib's prediction for one image.

    Attributes:
        pred_score: raw score.
        anomaly_map: float32, before smoothing; PatchCore's patch scores (h, w), EfficientAD's map
            at image size.
    """

    pred_score: float
    anomaly_map: npt.NDArray[np.float32]


class ReferenceModel:
    """anomalib's Lightning module, called as its Engine's predict step calls it.

    Args:
        model: fitted module; it is set to eval mode.
    """

    def __init__(self, model: AnomalibModule) -> None:
        self._model = model.eval()
        self._before_smoothing = torch.empty(0)
        inner = model.model
        # Smoothing is the runtime's work and done on demand, so what is compared is what goes into
        # it.
        smoothing = (
            inner.anomaly_map_generator
            if hasattr(inner, "anomaly_map_generator")
            else inner.smoothing
        )
        smoothing.register_forward_pre_hook(self._keep)

    def _keep(self, _module: Any, args: tuple[torch.Tensor, ...]) -> None:
        self._before_smoothing = args[0].detach().clone()

    def predict(self, image_rgb: UInt8Image) -> Reference:
        """Predict one image.

        Args:
            image_rgb: uint8 (H, W, 3), RGB, at the model's size.
        """
        batch = torch.from_numpy(image_rgb).permute(2, 0, 1)[None].float() / 255.0
        with torch.no_grad():
            result = self._model(batch)
        return Reference(
            pred_score=float(result.pred_score.reshape(-1)[0]),
            anomaly_map=self._before_smoothing.squeeze().numpy().astype(np.float32).copy(),
        )
