"""What inspecting one part yields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from runtime.bundle.thresholds import Threshold
from runtime.images.heatmap import overlay, upsample_map

Verdict = Literal["good", "anomalous", "cannot_judge"]


@dataclass(frozen=True)
class RawOutputs:
    """The graph's outputs for one image, copied out of the engine.

    Attributes:
        pred_score: raw score, unclamped, not normalised.
        anomaly_map: float32 (h, w), raw values at feature resolution.
        embedding: float32 (D,), L2-normalised descriptor of what is anomalous about the image.
    """

    pred_score: float
    anomaly_map: npt.NDArray[np.float32]
    embedding: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Prediction:
    """Verdict on one part.

    Attributes:
        verdict: ``good``, ``anomalous`` or ``cannot_judge``.
        pred_score: raw score, unclamped; compare only with raw thresholds.
        normalized_score: in [0, 1], 0.5 at the threshold.
        threshold: the threshold that the verdict used.
        anomaly_map: float32 (h, w), raw values at feature resolution.
        embedding: float32 (D,), L2-normalised.
        blur_sigma: blur of the heat map, in model-input pixels.
        model_hw: height and width of the model's input.
        latency_ms: decode to verdict, wall clock.
        engine: e.g. ``openvino``.
        precision: e.g. ``fp32``.
        device: e.g. ``CPU``.
        reason: why the part cannot be judged; empty otherwise.
        statistics: of the picture, by name (:mod:`runtime.health.statistics`); None where the
            bundle has no health.json.
        picture: what the model saw, uint8 (H, W, 3), RGB: the file may be gone by the time that one
            wants to look.
    """

    verdict: Verdict
    pred_score: float
    normalized_score: float
    threshold: Threshold
    anomaly_map: npt.NDArray[np.float32]
    embedding: npt.NDArray[np.float32]
    blur_sigma: float
    model_hw: tuple[int, int]
    latency_ms: float
    engine: str
    precision: str
    device: str
    reason: str = ""
    statistics: dict[str, float] | None = None
    picture: npt.NDArray[np.uint8] | None = None

    def heat_map(self) -> npt.NDArray[np.float32]:
        """Raw anomaly values at the model's input size, float32 (H, W); computed on demand."""
        return upsample_map(self.anomaly_map, self.model_hw, self.blur_sigma)

    def heat_overlay(self, image_rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The part with its heat map over it.

        A pixel at the threshold is drawn at half strength or less: the scale ends at the part's
        worst place, so that one sees where that is, but never so early that a good part looks
        alarming.

        Args:
            image_rgb: uint8 (H, W, 3), RGB, the inspected part at any size.

        Returns:
            uint8 (H, W, 3), RGB, of the same size.
        """
        low = min(self.threshold.median_good_score, self.threshold.pixel_threshold)
        height, width = image_rgb.shape[:2]
        heat = cv2.resize(self.heat_map(), (width, height), interpolation=cv2.INTER_LINEAR)
        high = max(2 * self.threshold.pixel_threshold - low, float(heat.max()))
        return overlay(image_rgb, np.asarray(heat, dtype=np.float32), low, high)

    def to_json(self) -> dict[str, Any]:
        """The fields of ``inspect --json``, without arrays."""
        return {
            "verdict": self.verdict,
            "pred_score": self.pred_score,
            "normalized_score": self.normalized_score,
            "threshold": self.threshold.image_threshold,
            "engine": self.engine,
            "precision": self.precision,
            "device": self.device,
            "latency_ms": round(self.latency_ms, 3),
            **({"reason": self.reason} if self.reason else {}),
        }
