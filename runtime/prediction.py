"""What inspecting one part yields."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from runtime import atomic
from runtime.bundle.thresholds import Threshold
from runtime.errors import LinesideError, sentence
from runtime.images.heatmap import overlay, upsample_map
from runtime.images.preprocess import Source, decoded, resize
from runtime.images.regions import Regions, draw_outlines, find_regions
from runtime.images.roi import RegionOfInterest
from runtime.types import Embedding, Float32Map, Mask, UInt8Image

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
        image_hw: height and width of the inspected picture at its own size.
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
        roi: inside which alone the part was judged; None for the whole picture.
    """

    verdict: Verdict
    pred_score: float
    normalized_score: float
    threshold: Threshold
    anomaly_map: Float32Map
    embedding: Embedding
    blur_sigma: float
    model_hw: tuple[int, int]
    image_hw: tuple[int, int]
    times: Times
    engine: str
    precision: str
    device: str
    reason: str = ""
    is_fault: bool = False
    statistics: dict[str, float] | None = None
    picture: UInt8Image | None = None
    roi: RegionOfInterest | None = None

    @property
    def has_score(self) -> bool:
        """Whether the engine has given a score, a map and a descriptor."""
        return math.isfinite(self.pred_score)

    @property
    def latency_ms(self) -> float:
        """Decode to verdict, wall clock."""
        return self.times.decode + self.times.resize + self.times.infer + self.times.judge

    def heat_map(self, size_hw: tuple[int, int] | None = None) -> Float32Map:
        """Raw anomaly values, float32 (H, W); computed on demand.

        Args:
            size_hw: height and width, e.g. ``image_hw``; None for the model's input size.
        """
        heat = upsample_map(self.anomaly_map, self.model_hw, self.blur_sigma)
        if self.roi is not None:
            heat = self.roi.apply(heat)
        if size_hw is None or size_hw == self.model_hw:
            return heat
        grown = cv2.resize(heat, size_hw[::-1], interpolation=cv2.INTER_LINEAR)
        return np.asarray(grown, dtype=np.float32)

    def mask(self) -> Mask:
        """Which pixels of the picture lie above the pixel threshold, bool ``image_hw``."""
        return np.asarray(self.heat_map(self.image_hw) > self.threshold.pixel_threshold)

    def regions(self) -> Regions:
        """Where the part lies above the pixel threshold, in pixels of the picture at its own size.

        Computed on demand. The verdict comes from the score, not from a pixel: an anomalous part
        may have no region, and a good part may have one.
        """
        # Neither up-sampling nor blur lifts a value. NaN, of a failing engine, is not above either.
        if not float(self.anomaly_map.max()) > self.threshold.pixel_threshold:
            return Regions()
        return find_regions(self.heat_map(self.image_hw), self.threshold.pixel_threshold)

    def heat_scale(self, heat: Float32Map) -> tuple[float, float]:
        """Raw values that are drawn as nothing and at full strength.

        A pixel at the threshold is drawn at half strength or less: the scale ends at the part's
        worst place, so that one sees where that is, but never so early that a good part looks
        alarming.

        Args:
            heat: of :meth:`heat_map`, at any size.
        """
        threshold = self.threshold.pixel_threshold
        low = min(self.threshold.median_good_score, threshold)
        return low, max(2 * threshold - low, float(heat.max()))

    def heat_overlay(self, image_rgb: UInt8Image) -> UInt8Image:
        """The part with its heat map over it, and its regions outlined.

        Outside of a region of interest it is dark.

        Args:
            image_rgb: uint8 (H, W, 3), RGB, the inspected part at any size.

        Returns:
            uint8 (H, W, 3), RGB, of the same size.
        """
        heat = self.heat_map((image_rgb.shape[0], image_rgb.shape[1]))
        shown = image_rgb if self.roi is None else self.roi.draw(image_rgb)
        drawn = overlay(shown, heat, *self.heat_scale(heat))
        return draw_outlines(drawn, heat, self.threshold.pixel_threshold)

    def save_map(self, folder: Path, stem: str, source: Source | None = None) -> None:
        """Write the part under its heat map as PNG, and its mask: 255 above the pixel threshold.

        Both have the part's own size. A map that cannot be written is told, no more.

        Args:
            folder: where to.
            stem: the file's name without its suffix, cut where it is too long for a disk; the
                mask's ends in ``_mask``, as in MVTec AD.
            source: the inspected picture; where it is None or gone by now, what the model saw is
                stretched to the part's size.
        """
        if self.picture is None:
            return
        seen = self.picture
        short = stem.encode(errors="surrogateescape")[:_LONGEST_STEM].decode(errors="ignore")
        drawn: dict[str, Callable[[], UInt8Image]] = {
            short: lambda: self.heat_overlay(self._own_picture(source, seen))[:, :, ::-1],
            f"{short}_mask": lambda: self.mask() * np.uint8(255),
        }
        for name, draw in drawn.items():
            target = folder / f"{name}.png"
            try:
                atomic.write_bytes(target, cv2.imencode(".png", draw())[1].tobytes())
            except OSError as error:
                log.info(
                    f"{target}: expected to write the heat map, but {error.strerror}; check the "
                    "disk"
                )
                return
            except Exception as error:
                log.info(f"{target}: the heat map could not be drawn: {sentence(error)}")

    def _own_picture(self, source: Source | None, seen: UInt8Image) -> UInt8Image:
        """The picture at its own size, if it still is the one that was inspected."""
        try:
            own = None if source is None else decoded(source)
        except LinesideError:
            own = None
        if own is not None and np.array_equal(resize(own, self.model_hw), seen):
            return own
        return resize(seen, self.image_hw)

    def to_json(self, *, regions: bool = False) -> dict[str, Any]:
        """The fields of a line of ``watch --json``; with regions those of ``inspect --json``."""
        where = self.regions() if regions else None
        return {
            "verdict": self.verdict,
            "pred_score": self.pred_score if self.has_score else None,
            "normalized_score": self.normalized_score if self.has_score else None,
            "threshold": self.threshold.image_threshold,
            "engine": self.engine,
            "precision": self.precision,
            "device": self.device,
            "latency_ms": round(self.latency_ms, 3),
            **({} if where is None else where.to_json()),
            **({"reason": self.reason} if self.reason else {}),
            **({"fault": True} if self.is_fault else {}),
        }
