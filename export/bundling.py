"""From a fitted model to a bundle: graphs, certificate, thresholds, golden images, manifest."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import torch
from torch import nn

from calibration.health import write_first_health
from calibration.learning import made_up
from calibration.learning.copies import stand_in
from calibration.learning.evidence import (
    GOLDEN_IMAGES,
    Scored,
    certificate_pictures,
    load_images,
    provenance_of,
)
from calibration.learning.ir import to_openvino
from calibration.learning.made_up import (
    METRIC,
    PICTURE_FILE,
    draw_made_up,
    found_rates,
    score_made_up_on,
)
from calibration.learning.photographs import Photographs
from calibration.threshold_rules import MAX_FALSE_REJECTS, first_threshold, peaks_of
from export.certificate import CertificateSet, Certified, ReferenceModel, certify, score_reference
from export.inference_graph import InferenceGraph, to_onnx
from export.licenses import licenses_of
from export.models import family_of
from export.models.settings import Recipe
from runtime import atomic
from runtime.bundle.folder import seal
from runtime.bundle.golden import Compared, write_golden
from runtime.bundle.manifest import (
    LICENSES,
    ROI,
    InputSpec,
    Manifest,
    MapSpec,
    OutputSpec,
    Variant,
)
from runtime.bundle.thresholds import THRESHOLDS_FILE, Thresholds, write_thresholds
from runtime.images.dataset import Category
from runtime.images.preprocess import RESIZE_RULE
from runtime.images.roi import ROI_FILE

VARIANTS = (
    Variant("openvino", "fp32", "openvino/fp32/model.xml"),
    Variant("onnxruntime", "fp32", "onnx/fp32/model.onnx"),
)
_PACKAGES = (
    "lineside",
    "anomalib",
    "torch",
    "timm",
    "onnx",
    "openvino",
    "onnxruntime",
    "numpy",
    "opencv-python-headless",
)


@dataclass(frozen=True)
class Trained:
    """A fitted model.

    Attributes:
        model: in eval mode on the CPU.
        seconds: that training took.
        left_out: what each part that was learned scores with a model that has not seen it; None
            where some parts were held out.
    """

    model: nn.Module
    seconds: float
    left_out: Scored | None = None


@dataclass(frozen=True)
class Work:
    """Everything a bundle is made from.

    Attributes:
        max_false_rejects: asked of its thresholds.
        roi_given: how the photographs' region of interest was typed.
    """

    recipe: Recipe
    category: Category
    photographs: Photographs
    trained: Trained
    seed: int
    max_false_rejects: float = MAX_FALSE_REJECTS
    roi_given: str | None = None


def write_bundle(work: Work, out: Path, name: str) -> Manifest:
    """Convert, certify and write a bundle; ``out`` appears only when all of it is proven.

    Args:
        work: the fitted model and what it was made from.
        out: target folder; an existing bundle there is replaced at the very end.
        name: the bundle's name.

    Returns:
        The manifest as written.

    Raises:
        ParityError: a variant differs from anomalib's torch model.
    """
    against = _certificate_set(work)
    good = against.reference_threshold
    family, scores = family_of(work.recipe.model), (good.median_good_score, good.image_threshold)
    graph = family.graph(work.recipe, work.trained.model, scores).eval()
    with atomic.folder(out) as root:
        _convert(graph, work.recipe.size_hw, root)
        certified = [certify(root, variant, against) for variant in VARIANTS]
        golden = slice(0, GOLDEN_IMAGES)
        compared = against.compared
        write_golden(
            root,
            against.images[golden],
            Compared(compared.scores[golden], compared.maps[golden], compared.threshold),
            certified[0].parity.score_range,
        )
        write_thresholds(root / THRESHOLDS_FILE, _thresholds(certified))
        write_first_health(
            root,
            (*work.photographs.train, *work.photographs.held_out),
            work.recipe.size_hw,
            {one.variant.key: one.good_scores for one in certified},
            left_out=work.trained.left_out is not None,
            roi=work.photographs.roi,
        )
        if work.photographs.roi is not None:
            work.photographs.roi.write(root / ROI_FILE)
        metrics = _made_up(work, against, root)
        return seal(root, _manifest(work, name, graph, certified, against.blur_sigma, metrics))


def _convert(graph: InferenceGraph, size_hw: tuple[int, int], root: Path) -> None:
    paths = {variant.engine: root / variant.path for variant in VARIANTS}
    for path in paths.values():
        path.parent.mkdir(parents=True)
    to_onnx(graph, size_hw, paths["onnxruntime"])
    to_openvino(paths["onnxruntime"], paths["openvino"])


def _certificate_set(work: Work) -> CertificateSet:
    size_hw, photographs, trained = work.recipe.size_hw, work.photographs, work.trained
    family = family_of(work.recipe.model)
    blur = family.blur_sigma(trained.model)
    augment = work.recipe.to_json().get("augment", "none")
    images, anomalous = certificate_pictures(
        work.category,
        photographs.held_out,
        photographs.train,
        size_hw,
        augment,
    )
    held_out = load_images(photographs.held_out, size_hw)
    if photographs.held_out == photographs.train:
        held_out = [stand_in(image, augment) for image in held_out]
    reference = ReferenceModel(trained.model, family.smoothing(trained.model))
    scored = score_reference(reference, images, "certificate")
    left_out, rate = trained.left_out, work.max_false_rejects
    good = left_out or score_reference(reference, held_out, "threshold")
    peaks = peaks_of(good.maps, size_hw, blur, photographs.roi)
    threshold = first_threshold(good.scores, peaks, rate, left_out=left_out is not None)
    return CertificateSet(
        images,
        anomalous,
        held_out,
        left_out,
        scored,
        threshold,
        size_hw,
        blur,
        rate,
        photographs.roi,
    )


def _made_up(work: Work, against: CertificateSet, root: Path) -> dict[str, Any]:
    """What the model finds of made-up defects; a sheet of them joins the bundle."""
    photographs, trained, size_hw = work.photographs, work.trained, work.recipe.size_hw
    if trained.left_out is None:
        smoothing = family_of(work.recipe.model).smoothing(trained.model)
        model = ReferenceModel(trained.model, smoothing)
        parts = against.held_out[: made_up.MADE_UP]
        scores = score_made_up_on(
            lambda one: model.predict(one)[0], parts, work.seed, photographs.roi
        )
    else:
        scores = trained.left_out.made_up
    rates = found_rates(scores, against.reference_threshold.image_threshold)
    shown = load_images((*photographs.held_out, *photographs.train)[:1], size_hw)
    if not rates or not shown:
        return {}
    sheet = draw_made_up(shown[0], rates, work.seed, photographs.roi)
    cv2.imwrite(str(root / PICTURE_FILE), sheet[:, :, ::-1])
    return {METRIC: rates}


def _thresholds(certified: list[Certified]) -> Thresholds:
    thresholds = Thresholds({})
    for one in certified:
        thresholds = thresholds.with_threshold(one.variant.key, one.threshold)
    return thresholds


def _manifest(
    work: Work,
    name: str,
    graph: InferenceGraph,
    certified: list[Certified],
    blur_sigma: float,
    metrics: dict[str, Any],
) -> Manifest:
    height, width = work.recipe.size_hw
    family = family_of(work.recipe.model)
    with torch.no_grad():
        _, anomaly_map, embedding = graph(torch.zeros((1, height, width, 3), dtype=torch.uint8))
    return Manifest(
        name=name,
        model=work.recipe.model,
        category=work.category.name,
        input=InputSpec(height, width, resize=RESIZE_RULE),
        outputs=OutputSpec(
            int(anomaly_map.shape[-2]), int(anomaly_map.shape[-1]), int(embedding.shape[-1])
        ),
        anomaly_map=MapSpec(blur_sigma),
        variants=VARIANTS,
        files={},
        recipe={
            **work.recipe.to_json(),
            "int8_attempts": list(family.int8_attempts),
            **_region(work),
        },
        provenance=_provenance(work),
        metrics=metrics,
        certificate={
            "reference": f"anomalib {version('anomalib')}, torch {version('torch')}, CPU",
            "variants": {one.variant.key: one.to_json() for one in certified},
        },
    )


def _region(work: Work) -> dict[str, Any]:
    """What bundle.json says of a region of interest: its file, and how it was given."""
    roi, given = work.photographs.roi, work.roi_given or ""
    if roi is None:
        return {}
    # A path tells of the workstation.
    return {ROI: {"file": ROI_FILE, "given": Path(given).name, "share": float(roi.mask.mean())}}


def _provenance(work: Work) -> dict[str, Any]:
    family, trained = family_of(work.recipe.model), work.trained
    return {
        **provenance_of(
            work.photographs,
            trained.left_out,
            work.recipe.size_hw,
            family.blur_sigma(trained.model),
            packages=_PACKAGES,
            seed=work.seed,
            seconds=trained.seconds,
        ),
        **family.provenance(trained.model),
        LICENSES: licenses_of(work.recipe.to_json(), work.category.train_good),
    }
