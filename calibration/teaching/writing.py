"""What is written of a lesson: models with another bank, their proof, thresholds, manifest."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from calibration.health import score_limit, write_first_health
from calibration.int8.carrying import carry_int8
from calibration.int8.variant import INT8, tell_int8
from calibration.learning.copies import COPIES
from calibration.learning.evidence import (
    GOLDEN_IMAGES,
    Scored,
    certificate_pictures,
    load_images,
    provenance_of,
    score_engine,
)
from calibration.learning.ir import to_openvino
from calibration.learning.made_up import METRIC, PICTURE_FILE, draw_made_up, found_rates
from calibration.learning.photographs import Photographs
from calibration.scoring import of_other
from calibration.teaching.lesson import Lesson
from calibration.teaching.new_bank import TeachableGraph
from runtime.bundle.folder import Bundle, seal
from runtime.bundle.golden import Compared, Parity, compare, write_golden
from runtime.bundle.manifest import (
    BLANK,
    FROM_FEEDBACK,
    LEFT_OUT_SCORES,
    LICENSES,
    MODELS,
    TRAIN_DIGESTS,
    Manifest,
    Variant,
)
from runtime.bundle.thresholds import THRESHOLDS_FILE, Threshold, Thresholds, write_thresholds
from runtime.engines.base import open_engine
from runtime.errors import DataError, MissingExtraError, ParityError
from runtime.health.baseline import HEALTH_FILE, Health, read_health, write_health
from runtime.images.dataset import Category
from runtime.progress import track
from runtime.types import UInt8Image

log = logging.getLogger("lineside")

# What a taught bundle has, each with the file that it is made of.
OPENVINO = Variant("openvino", "fp32", "openvino/fp32/model.xml")
ONNX = Variant("onnxruntime", "fp32", "onnx/fp32/model.onnx")
# Where the provenance says which bundle's network it is.
TAUGHT_FROM = "taught_from"
# Where it says what operators' words have added.
_PACKAGES = ("lineside", "openvino", "numpy", "opencv-python-headless")


@dataclass(frozen=True)
class Growth:
    """What a bundle keeps that goes on learning the same part.

    Attributes:
        health: what its pictures may look like, or None.
        before: provenance of the bundle before.
        trial: what is told of the new one.
        models: fingerprints of the bundles before, whose records are about the same part.
        is_new_look: the line sees parts as the new ones are, so the check of pictures follows.
    """

    health: Health | None
    before: Mapping[str, Any]
    trial: dict[str, Any]
    models: Sequence[str]
    is_new_look: bool = False

    def onto(self, provenance: dict[str, Any]) -> dict[str, Any]:
        """The new parts' provenance, with that of the parts before."""
        digests, scores = self.before.get(TRAIN_DIGESTS, []), self.before.get(LEFT_OUT_SCORES, {})
        learned = [*digests, *provenance[TRAIN_DIGESTS]]
        return {
            **provenance,
            TRAIN_DIGESTS: learned,
            LEFT_OUT_SCORES: {**scores, **provenance[LEFT_OUT_SCORES]},
            "train_images": len(learned),
            FROM_FEEDBACK: {
                "parts": len(provenance[TRAIN_DIGESTS]),
                "trial": self.trial,
                MODELS: list(self.models),
            },
        }


@dataclass(frozen=True)
class Work:
    """What the bundle is made of.

    Attributes:
        growth: where it is one of the same part.
        judges: pictures of good parts that it has not learned, which judge its INT8 variant.
    """

    base: Bundle
    graph: TeachableGraph
    category: Category
    photographs: Photographs
    lesson: Lesson
    left_out: Scored
    threshold: Threshold
    on_base: Parity
    seed: int
    growth: Growth | None = None
    judges: Sequence[Path] = ()


def write(work: Work, root: Path, start: float) -> Manifest:
    """Everything in the new bundle's folder.

    Args:
        work: what it is made of.
        root: the folder, empty.
        start: when learning began, of ``time.perf_counter``.

    Raises:
        ParityError: an engine computes something else than NumPy.
    """
    size_hw = work.base.manifest.input.size_hw
    good = work.threshold
    onnx, openvino = root / ONNX.path, root / OPENVINO.path
    for path in (onnx, openvino):
        path.parent.mkdir(parents=True)
    content = work.graph.with_bank(
        work.lesson.bank, work.lesson.components, (good.median_good_score, good.image_threshold)
    )
    onnx.write_bytes(content)
    to_openvino(onnx, openvino)
    train = work.photographs.train
    images, _ = certificate_pictures(work.category, (), train, size_hw, work.lesson.augment)
    reference = _reference(work, images)
    certified = _certified(root, reference, images)
    golden = slice(0, GOLDEN_IMAGES)
    write_golden(
        root,
        images[golden],
        Compared(reference.scores[golden], reference.maps[golden], good.image_threshold),
        next(iter(certified.values())).score_range,
    )
    thresholds = Thresholds({})
    for variant in (OPENVINO, ONNX):
        thresholds = thresholds.with_threshold(variant.key, good)
    write_thresholds(root / THRESHOLDS_FILE, thresholds)
    scores = {variant.key: work.left_out.scores for variant in (OPENVINO, ONNX)}
    if work.growth is None:
        write_first_health(root, train, size_hw, scores, left_out=True)
    elif work.growth.is_new_look:
        write_first_health(root, train, size_hw, scores, left_out=True, before=work.growth.health)
    elif work.growth.health is not None:
        # Scores of the bank before are no baseline for those of this one.
        write_health(root / HEALTH_FILE, dataclasses.replace(work.growth.health, scores={}))
    metrics = _made_up(work, root)
    manifest = seal(root, _manifest(work, certified, metrics, time.perf_counter() - start))
    return _with_int8(work, root) or manifest


def _with_int8(work: Work, root: Path) -> Manifest | None:
    """The base's INT8 networks around the new bank, if it has some and the gate lets them in."""
    if INT8.key not in [one.key for one in work.base.manifest.variants]:
        return None
    good = [*work.photographs.train, *work.judges]
    try:
        found = carry_int8(root, work.base, work.lesson.components, good)
    except (DataError, ParityError) as error:
        log.warning(
            f"warning: {INT8.key}: not taught, the new bundle is fp32: {error}. Its networks can "
            "be quantized for this part where the extra 'calibrate' is, with: lineside calibrate "
            "BUNDLE --good DIR --int8"
        )
        return None
    tell_int8(found)
    path = root / HEALTH_FILE
    if path.exists():
        health = read_health(path)
        limit = score_limit(of_other(work.left_out.scores, *found.scores))
        limits = {**health.score_limits, INT8.key: limit}
        write_health(path, dataclasses.replace(health, score_limits=limits))
    with Bundle.open(root) as bundle:
        return bundle.manifest


def _reference(work: Work, images: list[UInt8Image]) -> Compared:
    """NumPy's scores of the patches that the network sees in the pictures."""
    bank = work.lesson.bank
    found = [work.lesson.score(image, bank) for image in track(images, "reference")]
    return Compared(
        np.array([score for score, _ in found]),
        [one for _, one in found],
        work.threshold.image_threshold,
    )


def _certified(root: Path, reference: Compared, images: list[UInt8Image]) -> dict[str, Parity]:
    """Every variant whose engine is here against the reference.

    Raises:
        ParityError: one differs.
    """
    certified: dict[str, Parity] = {}
    for variant in (OPENVINO, ONNX):
        try:
            engine = open_engine(variant.engine, root / variant.path)
        except MissingExtraError:
            log.info(
                f"{variant.key} is written without a proof of its own, for its engine is not "
                "installed here: OpenVINO has read the same file. Prove it where it is, with: "
                "lineside verify BUNDLE"
            )
            continue
        try:
            found = score_engine(engine, images, f"{variant.key}: certificate")
        finally:
            engine.close()
        parity = compare(
            variant.key,
            "CPU",
            reference,
            Compared(found.scores, found.maps, reference.threshold),
        )
        if not parity.holds:
            raise ParityError(
                f"{variant.key}: expected scores and maps within {parity.bound:g} of their range "
                f"and no verdict flip against NumPy's, found {parity.max_score_difference:.2e}, "
                f"{parity.p99_map_difference:.2e} and {parity.verdict_flips} flips on "
                f"{parity.images} images; no bundle was written. Run: lineside verify BUNDLE"
            )
        certified[variant.key] = parity
    return certified


def _made_up(work: Work, root: Path) -> dict[str, Any]:
    """What the model finds of made-up defects; a sheet of them joins the bundle."""
    rates = found_rates(work.left_out.made_up, work.threshold.image_threshold)
    shown = load_images(work.photographs.train[:1], work.base.manifest.input.size_hw)
    if not rates or not shown:
        return {}
    cv2.imwrite(str(root / PICTURE_FILE), draw_made_up(shown[0], rates, work.seed)[:, :, ::-1])
    return {METRIC: rates}


def _weights_license(base: Manifest) -> str:
    known = base.provenance.get(LICENSES)
    found = known.get("weights") if isinstance(known, dict) else None
    return found if isinstance(found, str) else f"as of {base.name}, which does not say"


def _manifest(
    work: Work, certified: dict[str, Parity], metrics: dict[str, Any], seconds: float
) -> Manifest:
    base, photographs = work.base.manifest, work.photographs
    # The only part's score is no evidence, unless there were others before it.
    alone = work.growth is None and len(photographs.train) == 1
    left_out = None if alone else work.left_out
    provenance = provenance_of(
        photographs,
        left_out,
        base.input.size_hw,
        base.anomaly_map.blur_sigma,
        packages=_PACKAGES,
        seed=work.seed,
        seconds=seconds,
    )
    if work.growth is not None:
        provenance = work.growth.onto(provenance)
    unknown = {"image_auroc_reference": None, "image_auroc": None}
    return dataclasses.replace(
        base,
        name=f"{work.category.name}-{base.model}",
        category=work.category.name,
        variants=(OPENVINO, ONNX),
        files={},
        recipe={
            **{name: value for name, value in base.recipe.items() if name != BLANK},
            "augment": work.lesson.augment,
        },
        provenance={
            **provenance,
            **({} if work.lesson.copies is None else {COPIES: work.lesson.copies.count}),
            TAUGHT_FROM: {"bundle": base.name, "model": base.model_fingerprint()},
            LICENSES: {
                "weights": _weights_license(base),
                "data": "not stated: pictures taught on the box",
            },
        },
        metrics=metrics,
        certificate={
            "reference": f"NumPy {version('numpy')} on the features of OpenVINO "
            f"{version('openvino')}, CPU",
            "variants": {key: {**one.to_json(), **unknown} for key, one in certified.items()},
            TAUGHT_FROM: {**work.on_base.to_json(), "reference": base.certificate.get("reference")},
        },
    )
