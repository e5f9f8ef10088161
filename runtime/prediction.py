"""What inspecting one part yields."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from runtime import atomic
from runtime.bundle.thresholds import Threshold
from runtime.errors import sentence
from runtime.images.heatmap import overlay, upsample_map
from runtime.types import Embedding, Float32Map, UInt8Image

log = logging.getLogger("lineside")

# A name may have 255 bytes; a temporary one needs some more than the final one.
_LONGEST_STEM = 200
Verdict = Literal["good", "anomalous", "cannot_judge"]


@dataclass(frozen=True)
class RawOutputs:
    """The graph's outputs for one image, copied out of the engine.

    Attributes:
        pred_score: raw score, unclamped, not normalised.
        anomaly_map: float32 (h, w), raw values at feature resolution.
        embedding: float32 (D,), L2-normalised descriptor of what is anomalous about the image.
        map_low: lowest value of the map.
        map_high: highest value of the map.
        is_described: whether the descriptor says anything; it is all zero otherwise.
    """

    pred_score: float
    anomaly_map: Float32Map
    embedding: Embedding
    map_low: float
    map_high: float
    is_described: bool = True


@dataclass(frozen=True)
class Times:
    """Milliseconds of wall clock that each stage took; together they are the latency.

    Attributes:
        decode: file to uint8 picture.
        resize: to the model's size.
        infer: the graph, score included.
        judge: statistics of the picture, check against health.json, verdict.
    """

    decode: float
    resize: float
    infer: float
    judge: float


@dataclass(frozen=True)
class Prediction:
    """Verdict on one part.

    Attributes:
        verdict: ``good``, ``anomalous`` or ``cannot_judge``.
        pred_score: raw score, unclamped; compare only with raw thresholds. NaN where the engine has
            given none.
        normalized_score: in [0, 1], 0.5 at the threshold; NaN likewise.
        threshold: the threshold that the verdict used.
        anomaly_map: float32 (h, w), raw values at feature resolution.
        embedding: float32 (D,), L2-normalised.
        blur_sigma: blur of the heat map, in model-input pixels.
        model_hw: height and width of the model's input.
        times: what each stage took.
        engine: e.g. ``openvino``.
        precision: e.g. ``fp32``.
        device: e.g. ``CPU``.
        reason: why the part cannot be judged; empty otherwise.
        is_fault: whether the engine or a file of the bundle is why, and not the picture.
        statistics: of the picture, by name (:mod:`runtime.health.statistics`); None where the
            bundle has no health.json.
        picture: what the model saw, uint8 (H, W, 3), RGB: the file may be gone by the time that one
            wants to look.
    """

    verdict: Verdict
    pred_score: float
    normalized_score: float
    threshold: Threshold
    anomaly_map: Float32Map
    embedding: Embedding
    blur_sigma: float
    model_hw: tuple[int, int]
    times: Times
    engine: str
    precision: str
    device: str
    reason: str = ""
    is_fault: bool = False
    statistics: dict[str, float] | None = None
    picture: UInt8Image | None = None

    @property
    def has_score(self) -> bool:
        """Whether the engine has given a score, a map and a descriptor."""
        return math.isfinite(self.pred_score)

    @property
    def latency_ms(self) -> float:
        """Decode to verdict, wall clock."""
        return self.times.decode + self.times.resize + self.times.infer + self.times.judge

    def heat_map(self) -> Float32Map:
        """Raw anomaly values at the model's input size, float32 (H, W); computed on demand."""
        return upsample_map(self.anomaly_map, self.model_hw, self.blur_sigma)

    def heat_overlay(self, image_rgb: UInt8Image) -> UInt8Image:
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

    def save_map(self, folder: Path, stem: str) -> None:
        """Write the part with its heat map over it as PNG, at the model's size.

        A map that cannot be written is told, no more.

        Args:
            folder: where to.
            stem: the file's name without its suffix, cut where it is too long for a disk.
        """
        if self.picture is None:
            return
        short = stem.encode(errors="surrogateescape")[:_LONGEST_STEM].decode(errors="ignore")
        target = folder / f"{short}.png"
        try:
            _, data = cv2.imencode(".png", self.heat_overlay(self.picture)[:, :, ::-1])
            atomic.write_bytes(target, data.tobytes())
        except OSError as error:
            log.info(
                f"{target}: expected to write the heat map, but {error.strerror}; check the disk"
            )
        except Exception as error:
            log.info(f"{target}: the heat map could not be drawn: {sentence(error)}")

    def to_json(self) -> dict[str, Any]:
        """The fields of ``inspect --json``, without arrays."""
        return {
            "verdict": self.verdict,
            "pred_score": self.pred_score if self.has_score else None,
            "normalized_score": self.normalized_score if self.has_score else None,
            "threshold": self.threshold.image_threshold,
            "engine": self.engine,
            "precision": self.precision,
            "device": self.device,
            "latency_ms": round(self.latency_ms, 3),
            **({"reason": self.reason} if self.reason else {}),
            **({"fault": True} if self.is_fault else {}),
        }
