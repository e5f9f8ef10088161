"""What anomalib's own torch model says: the reference of every certificate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from anomalib.models.components import AnomalibModule

UInt8Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Reference:
    """anomalib's prediction for one image.

    Attributes:
        pred_score: raw score.
        anomaly_map: float32; PatchCore's patch scores (h, w) before up-sampling, EfficientAD's map at image size.
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
        self._patch_scores: torch.Tensor | None = None
        generator = getattr(model.model, "anomaly_map_generator", None)
        if generator is not None:
            generator.register_forward_pre_hook(self._keep)

    def _keep(self, _module: Any, args: tuple[torch.Tensor, ...]) -> None:
        self._patch_scores = args[0].detach().clone()

    def predict(self, image_rgb: UInt8Image) -> Reference:
        """Predict one image.

        Args:
            image_rgb: uint8 (H, W, 3), RGB, at the model's size.
        """
        batch = torch.from_numpy(image_rgb).permute(2, 0, 1)[None].float() / 255.0
        with torch.no_grad():
            result = self._model(batch)
        found = self._patch_scores if self._patch_scores is not None else result.anomaly_map
        return Reference(
            pred_score=float(result.pred_score.reshape(-1)[0]),
            anomaly_map=found.squeeze().numpy().astype(np.float32).copy(),
        )
