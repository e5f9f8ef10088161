"""Threshold calibration: new thresholds for the variants of a bundle, from pictures of parts."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from calibration.checks import check_good, refuse_another_part, refuse_good_as_bad, suspects
from calibration.guarantee import Promise, promise
from calibration.labeled import Costs, LabeledThreshold, cost_threshold, f1_threshold
from calibration.scoring import ScoredPictures, VariantScores, learned_digests, score_pictures
from calibration.thresholds_file import DAMAGED
from runtime.bundle.folder import Bundle
from runtime.bundle.manifest import Variant
from runtime.bundle.thresholds import THRESHOLDS_FILE, Threshold, Thresholds
from runtime.errors import EngineError, MissingExtraError, ThresholdError
from runtime.inspector import Inspector
from runtime.types import Labels

log = logging.getLogger("lineside")


@dataclass(frozen=True)
class Request:
    """What the engineer asks for.

    Attributes:
        good: folder of good parts that training has not seen.
        max_false_rejects: asked share of good parts rejected, in (0, 1).
        confidence: probability that the promise holds for this calibration; None for a promise on
            average.
        bad: folder of bad parts; the image threshold is then chosen on labels.
        costs: of both mistakes; None for best F1.
        force: go on although the pictures look like another part.
    """

    good: Path
    max_false_rejects: float = 0.01
    confidence: float | None = 0.95
    bad: Path | None = None
    costs: Costs | None = None
    force: bool = False


@dataclass(frozen=True)
class Calibrated:
    """Outcome for one variant.

    Attributes:
        variant: ``engine/precision``.
        threshold: the new one.
        previous: the one that it replaces, if any.
        promised: what order statistics of the good parts promise; behind the pixel threshold in any
            case.
        good: scores of the good parts.
        bad: scores of the bad parts, if any.
    """

    variant: str
    threshold: Threshold
    previous: Threshold | None
    promised: Promise
    good: VariantScores
    bad: VariantScores | None

    def flags(self) -> Labels:
        """Verdicts on all calibration pictures, good ones first, bool (n,)."""
        scores = (
            self.good.scores
            if self.bad is None
            else np.concatenate([self.good.scores, self.bad.scores])
        )
        return np.asarray(scores > self.threshold.image_threshold, dtype=np.bool_)

    def to_json(self) -> dict[str, Any]:
        """The fields of ``calibrate --json`` that belong to one variant."""
        engine, precision = self.variant.split("/")
        new = self.threshold
        return {
            "engine": engine,
            "precision": precision,
            "method": new.method,
            "image_threshold": new.image_threshold,
            "pixel_threshold": new.pixel_threshold,
            "previous_image_threshold": self.previous.image_threshold if self.previous else None,
            "n_good": self.promised.n_good,
            "n_needed": self.promised.n_needed,
            "asked_max_false_rejects": self.promised.asked,
            "max_false_rejects": new.max_false_rejects,
            "confidence": new.confidence,
            "false_rejects": int((self.good.scores > new.image_threshold).sum()),
            "misses": None
            if self.bad is None
            else int((self.bad.scores <= new.image_threshold).sum()),
            "note": new.note,
        }


@dataclass(frozen=True)
class Calibration:
    """Outcome for a bundle.

    Attributes:
        thresholds: all of thresholds.json as it should become; nothing is written yet.
        variants: one outcome each, the reference variant (fp32) first.
        good: the good pictures.
        suspects: good pictures that score like bad ones, worst first.
    """

    thresholds: Thresholds
    variants: tuple[Calibrated, ...]
    good: ScoredPictures
    suspects: tuple[Path, ...]

    def flips(self, one: Calibrated) -> int:
        """Pictures whose verdict differs from the first variant's, each with its own threshold."""
        return int((one.flags() != self.variants[0].flags()).sum())


def calibrate(bundle: Bundle, request: Request, chosen: Sequence[Variant]) -> Calibration:
    """Find new thresholds. Nothing is written: that is the caller's last step.

    Args:
        bundle: an open bundle.
        request: what is asked for.
        chosen: variants to calibrate; with more than one, those whose engine is not installed are
            left out and told.

    Raises:
        DataError: a folder is missing, holds nothing readable, or shows other parts.
        ThresholdError: a rate or a cost makes no sense.
        EngineError: no variant can be run.
    """
    good, bad = _score(bundle, request, chosen)
    recorded = _recorded(bundle)
    check_good(request.good, good, recorded, force=request.force)
    outcomes = tuple(_one(key, good, bad, request, recorded) for key in good.by_variant)
    thresholds = recorded
    for outcome in outcomes:
        thresholds = thresholds.with_threshold(outcome.variant, outcome.threshold)
    first = next(iter(good.by_variant.values()))
    odd = tuple(good.paths[index] for index in suspects(first.scores))
    return Calibration(thresholds, outcomes, good, odd)


def check(bundle: Bundle, request: Request) -> None:
    """Refuse what :func:`calibrate` would refuse, with fp32 alone: to be asked before a variant is added.

    Raises:
        DataError, ThresholdError, EngineError: as there.
    """
    # Of a damaged file, whose repair is a calibration without a new variant.
    recorded = bundle.thresholds()
    good, _ = _score(
        bundle, request, [one for one in bundle.manifest.variants if one.precision == "fp32"]
    )
    if not request.force:
        refuse_another_part(request.good, good, recorded)


def _recorded(bundle: Bundle) -> Thresholds:
    """The thresholds in force; none where the file is missing or damaged, which is said. A damaged one is kept by ``save``."""
    try:
        return bundle.thresholds()
    except ThresholdError as problem:
        kept = (
            f", and the damaged file is kept as {DAMAGED}"
            if (bundle.root / THRESHOLDS_FILE).exists()
            else ""
        )
        log.info(f"the thresholds are made anew{kept}: {problem}")
        return Thresholds({})


def _score(
    bundle: Bundle, request: Request, chosen: Sequence[Variant]
) -> tuple[ScoredPictures, ScoredPictures | None]:
    # A rate that makes no sense should not wait until all pictures are scored.
    promise(1, request.max_false_rejects, request.confidence)
    learned = learned_digests(bundle)
    with ExitStack() as stack:
        inspectors = [stack.enter_context(one) for one in _open(bundle, chosen)]
        good = score_pictures(inspectors, request.good, "scoring good parts", learned)
        bad = score_pictures(inspectors, request.bad, "scoring bad parts") if request.bad else None
    if bad is not None:
        refuse_good_as_bad(good, bad, learned)
    return good, bad


def _open(bundle: Bundle, chosen: Sequence[Variant]) -> list[Inspector]:
    opened: list[Inspector] = []
    problems: list[EngineError | MissingExtraError] = []
    # fp32 first: the other precisions are compared with it.
    for variant in sorted(chosen, key=lambda one: one.precision != "fp32"):
        try:
            opened.append(
                Inspector(
                    bundle, engine=variant.engine, precision=variant.precision, scores_only=True
                )
            )
        except (EngineError, MissingExtraError) as problem:
            problems.append(problem)
            log.info(f"{variant.key} is left as it is: {problem}")
    if not opened:
        raise problems[0]
    return opened


def _one(
    key: str,
    good: ScoredPictures,
    bad: ScoredPictures | None,
    request: Request,
    recorded: Thresholds,
) -> Calibrated:
    scored = good.by_variant[key]
    bad_scored = bad.by_variant[key] if bad else None
    promised = promise(scored.scores.size, request.max_false_rejects, request.confidence)
    # The promise behind the pixel threshold: a good part shows no flagged pixel, at the same rate.
    threshold = Threshold(
        image_threshold=promised.of(scored.scores),
        pixel_threshold=promised.of(scored.peaks),
        median_good_score=float(np.median(scored.scores)),
        method="conformal" if request.confidence is None else "tolerance",
        n_good=promised.n_good,
        max_false_rejects=promised.max_false_rejects,
        confidence=promised.confidence,
        note=promised.sentence(),
    )
    if bad_scored is not None:
        threshold = _with_labels(threshold, scored, bad_scored, request.costs)
    return Calibrated(key, threshold, recorded.variants.get(key), promised, scored, bad_scored)


def _with_labels(
    unlabeled: Threshold, good: VariantScores, bad: VariantScores, costs: Costs | None
) -> Threshold:
    found: LabeledThreshold = (
        f1_threshold(good.scores, bad.scores)
        if costs is None
        else cost_threshold(good.scores, bad.scores, costs)
    )
    return dataclasses.replace(
        unlabeled,
        image_threshold=found.value,
        method="f1_max" if costs is None else "cost",
        max_false_rejects=None,
        confidence=None,
        note=found.note,
    )
