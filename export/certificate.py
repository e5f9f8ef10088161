"""The parity certificate: every variant against anomalib's own torch prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from calibration.learning.evidence import Scored, score_engine
from calibration.metrics import image_auroc
from calibration.threshold_rules import MAX_FALSE_REJECTS, first_threshold, peaks_of
from runtime.bundle.golden import Compared, Parity, compare
from runtime.bundle.manifest import Variant
from runtime.bundle.thresholds import Threshold
from runtime.engines.base import open_engine
from runtime.errors import ParityError
from runtime.images.roi import RegionOfInterest
from runtime.progress import track
from runtime.types import Float32Map, UInt8Image


@dataclass(frozen=True)
class Certified:
    """One variant.

    Attributes:
        variant: which.
        parity: its differences to the reference.
        threshold: from its own scores of the held-out good parts, or the reference's where each
            was left out in turn.
        good_scores: those raw scores, (n,).
        image_auroc: on the certificate images before (anomalib's torch model) and after export;
            None without both kinds of labelled parts.
    """

    variant: Variant
    parity: Parity
    threshold: Threshold
    good_scores: npt.NDArray[np.float64]
    image_auroc: tuple[float, float] | None

    def to_json(self) -> dict[str, Any]:
        """The certificate as it is recorded in the bundle."""
        before, after = self.image_auroc or (None, None)
        return {**self.parity.to_json(), "image_auroc_reference": before, "image_auroc": after}


@dataclass(frozen=True)
class CertificateSet:
    """Images and the reference's results on them, shared by all variants.

    Attributes:
        images: certificate images, uint8 (H, W, 3).
        anomalous: which of them show a defect; empty where that is not known.
        held_out: held-out good images, uint8 (H, W, 3).
        left_out: the reference's results on learned images, each without having seen it; None where
            some were held out.
        reference: anomalib's results on ``images``.
        reference_threshold: from anomalib's scores of good images.
        size_hw: model input size.
        blur_sigma: blur of the heat map in pixels.
        max_false_rejects: asked of the thresholds.
        roi: inside which alone parts are judged; None for the whole picture.
    """

    images: list[UInt8Image]
    anomalous: list[bool]
    held_out: list[UInt8Image]
    left_out: Scored | None
    reference: Scored
    reference_threshold: Threshold
    size_hw: tuple[int, int]
    blur_sigma: float
    max_false_rejects: float = MAX_FALSE_REJECTS
    roi: RegionOfInterest | None = None

    @property
    def compared(self) -> Compared:
        """The reference's side of the comparison."""
        return Compared(
            self.reference.scores, self.reference.maps, self.reference_threshold.image_threshold
        )

    def image_auroc(self, scores: npt.NDArray[np.float64]) -> tuple[float, float] | None:
        """The reference's and that of ``scores``; None without both kinds of labelled parts."""
        if len(set(self.anomalous)) < 2:
            return None
        before, after = (
            image_auroc(self.anomalous, found) for found in (self.reference.scores, scores)
        )
        return before, after


def certify(root: Path, variant: Variant, against: CertificateSet) -> Certified:
    """Compare a variant with the reference.

    Args:
        root: bundle folder being built.
        variant: the variant to run, on the CPU.
        against: images and reference results.

    Raises:
        ParityError: the variant differs by more than its bound, or flips a verdict.
    """
    engine = open_engine(variant.engine, root / variant.path)
    try:
        good = against.left_out or score_engine(
            engine, against.held_out, f"{variant.key}: threshold"
        )
        found = score_engine(engine, against.images, f"{variant.key}: certificate")
    finally:
        engine.close()
    threshold = first_threshold(
        good.scores,
        peaks_of(good.maps, against.size_hw, against.blur_sigma, against.roi),
        against.max_false_rejects,
        left_out=against.left_out is not None,
    )
    parity = compare(
        variant.key,
        "CPU",
        against.compared,
        Compared(found.scores, found.maps, threshold.image_threshold),
    )
    if not parity.holds:
        raise ParityError(
            f"{variant.key}: expected scores and maps within {parity.bound:g} of their range and "
            "no verdict flip against "
            f"anomalib's torch model, found {parity.max_score_difference:.2e}, "
            f"{parity.p99_map_difference:.2e} and "
            f"{parity.verdict_flips} flips on "
            f"{parity.images} images; no bundle was written. Train again, or try another "
            "--backbone or --size"
        )
    return Certified(variant, parity, threshold, good.scores, against.image_auroc(found.scores))


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


def score_reference(model: ReferenceModel, images: Sequence[UInt8Image], what: str) -> Scored:
    """The network's results."""
    found = [model.predict(image) for image in track(images, f"reference: {what}")]
    return Scored(np.array([score for score, _ in found]), [one for _, one in found])
