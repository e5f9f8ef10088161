"""New thresholds for the variants of a bundle, from pictures of parts."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from calibration.checks import check_good, refuse_another_part, refuse_good_as_bad, suspects
from calibration.health import refresh_health
from calibration.int8.variant import INT8, add_int8
from calibration.labeled import Costs, labeled_threshold
from calibration.scoring import Pictures, Scored, learned_digests, left_out_scores, score_pictures
from calibration.threshold_rules import Promise, promise
from runtime.bundle.folder import Bundle
from runtime.bundle.manifest import Variant
from runtime.bundle.thresholds import THRESHOLDS_FILE, Threshold, Thresholds
from runtime.bundle.thresholds_file import DAMAGED, require_folder, save
from runtime.errors import EngineError, MissingExtraError, ThresholdError
from runtime.inspector import Inspector
from runtime.types import Floats, Labels

log = logging.getLogger("lineside")


@dataclass(frozen=True)
class Request:
    """What the engineer asks for.

    Attributes:
        good: good parts that training has not seen, or recorded left-out scores of.
        max_false_rejects: asked share of good parts rejected, in (0, 1).
        confidence: probability that the promise holds for this calibration; None for a promise on
            average.
        bad: bad parts; the image threshold is then chosen on labels.
        costs: of both mistakes; None for best F1.
        engine: only this engine's variants; None for all.
        precision: only this precision's variants; None for all.
        int8: first add an INT8 variant, of networks and search or of the search alone.
        bad_judge_int8: bad parts judge the INT8 variant alone, and good ones set the thresholds.
        force: go on although the pictures look like another part.
    """

    good: Pictures
    max_false_rejects: float = 0.01
    confidence: float | None = 0.95
    bad: Pictures | None = None
    costs: Costs | None = None
    engine: str | None = None
    precision: str | None = None
    int8: Literal["networks", "search"] | None = None
    bad_judge_int8: bool = False
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
        good: raw scores of the good parts (n,).
        bad: raw scores of the bad parts (m,), if any.
    """

    variant: str
    threshold: Threshold
    previous: Threshold | None
    promised: Promise
    good: Floats
    bad: Floats | None

    def flags(self) -> Labels:
        """Verdicts on all calibration pictures, good ones first, bool (n + m,)."""
        scores = self.good if self.bad is None else np.concatenate([self.good, self.bad])
        return np.asarray(scores > self.threshold.image_threshold, dtype=np.bool_)

    def to_json(self) -> dict[str, Any]:
        """The fields of ``calibrate --json`` that belong to one variant."""
        engine, precision = self.variant.split("/")
        new, flags = self.threshold, self.flags()
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
            "false_rejects": int(flags[: self.good.size].sum()),
            "misses": None if self.bad is None else int((~flags[self.good.size :]).sum()),
            "note": new.note,
        }


@dataclass(frozen=True)
class Calibration:
    """Outcome for a bundle.

    Attributes:
        bundle: the bundle's name.
        category: kind of part.
        request: what was asked for.
        variants: one outcome each, the reference variant (fp32) first.
        good: the good pictures.
        suspects: good pictures that score like bad ones, worst first.
    """

    bundle: str
    category: str
    request: Request
    variants: tuple[Calibrated, ...]
    good: Scored
    suspects: tuple[Path, ...]

    def flips(self, one: Calibrated) -> int:
        """Pictures whose verdict differs from the first variant's, each with its own threshold."""
        return int((one.flags() != self.variants[0].flags()).sum())


def recalibrate(path: Path, request: Request) -> Calibration:
    """Set a bundle's thresholds and its check of pictures, after adding an INT8 variant if asked.

    Args:
        path: bundle folder.
        request: what is asked for.

    Raises:
        BundleError: no bundle folder, or no variant that matches.
        DataError: a folder is missing, holds nothing readable, or shows other parts.
        ThresholdError: a rate or a cost makes no sense, or the file cannot be written.
        EngineError: no variant can be run.
        ParityError: the INT8 variant judges parts otherwise; the bundle stays as it was.
    """
    require_folder(path)
    if request.int8 is not None:
        with Bundle.open(path) as bundle:
            _refuse_before_int8(bundle, request)
        add_int8(path, request.good, request.bad, search_alone=request.int8 == "search")
        if request.bad_judge_int8:
            request = dataclasses.replace(request, bad=None)
    with Bundle.open(path) as bundle:
        recorded = _recorded(bundle)
        chosen = bundle.manifest.variants_matching(request.engine, request.precision)
        good, bad = _score(bundle, request, chosen)
        check_good(request.good, good, recorded, force=request.force)
        outcomes = tuple(_one(key, good, bad, request, recorded) for key in good.scores)
        thresholds = recorded
        for outcome in outcomes:
            thresholds = thresholds.with_threshold(outcome.variant, outcome.threshold)
        save(bundle, thresholds)
        refresh_health(bundle, good)
    odd = tuple(good.paths[index] for index in suspects(good.reference[1]))
    manifest = bundle.manifest
    return Calibration(manifest.name, manifest.category, request, outcomes, good, odd)


def _refuse_before_int8(bundle: Bundle, request: Request) -> None:
    """Refuse, with fp32 alone, what the calibration would refuse once the variant is added."""
    manifest = bundle.manifest
    others = tuple(one for one in manifest.variants if one.key != INT8.key)
    with_int8 = dataclasses.replace(manifest, variants=(*others, INT8))
    with_int8.variants_matching(request.engine, request.precision)
    # Of a damaged file, whose repair is a calibration without a new variant.
    recorded = bundle.thresholds()
    good, _ = _score(bundle, request, [one for one in others if one.precision == "fp32"])
    if not request.force:
        refuse_another_part(request.good, good, recorded)


def _recorded(bundle: Bundle) -> Thresholds:
    """The thresholds in force; none where the file is missing or damaged, which is said."""
    try:
        return bundle.thresholds()
    except ThresholdError as problem:
        there = (bundle.root / THRESHOLDS_FILE).exists()
        kept = f", and the damaged file is kept as {DAMAGED}" if there else ""
        log.info(f"the thresholds are made anew{kept}: {problem}")
        return Thresholds({}, model=bundle.manifest.model_fingerprint())


def _score(
    bundle: Bundle, request: Request, chosen: Sequence[Variant]
) -> tuple[Scored, Scored | None]:
    # A rate that makes no sense should not wait until all pictures are scored.
    promise(1, request.max_false_rejects, request.confidence)
    learned = learned_digests(bundle)
    with ExitStack() as stack:
        inspectors = [stack.enter_context(one) for one in _open(bundle, chosen)]
        good = score_pictures(
            inspectors, request.good, "scoring good parts", learned, left_out_scores(bundle)
        )
        bad = score_pictures(inspectors, request.bad, "scoring bad parts") if request.bad else None
    if bad is not None:
        refuse_good_as_bad(good, bad, learned)
    return good, bad


def _open(bundle: Bundle, chosen: Sequence[Variant]) -> list[Inspector]:
    opened: list[Inspector] = []
    problems: list[EngineError | MissingExtraError] = []
    # fp32 first: the other precisions are compared with it.
    for one in sorted(chosen, key=lambda one: one.precision != "fp32"):
        try:
            opened.append(
                Inspector(bundle, engine=one.engine, precision=one.precision, scores_only=True)
            )
        except (EngineError, MissingExtraError) as problem:
            problems.append(problem)
            log.info(f"{one.key} is left as it is: {problem}")
    if not opened:
        raise problems[0]
    return opened


def _one(
    key: str, good: Scored, bad: Scored | None, request: Request, recorded: Thresholds
) -> Calibrated:
    scores = good.scores[key]
    bad_scores = None if bad is None else bad.scores[key]
    promised = promise(scores.size, request.max_false_rejects, request.confidence)
    n_left_out = int(good.left_out.sum())
    threshold = promised.threshold(scores, good.peaks[key], n_left_out)
    if n_left_out and not key.endswith("/fp32"):
        threshold = dataclasses.replace(threshold, note=f"{threshold.note}; matched from fp32's")
    if bad_scores is not None:
        found = labeled_threshold(scores, bad_scores, request.costs)
        threshold = dataclasses.replace(
            threshold,
            image_threshold=found.value,
            method=found.method,
            max_false_rejects=None,
            confidence=None,
            note=found.note,
        )
    return Calibrated(key, threshold, recorded.variants.get(key), promised, scores, bad_scores)
