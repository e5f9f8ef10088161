"""A bundle that goes on learning, when told: from what operators have said of recorded parts.

Parts that they have called good, false alarms above all, give their patches to the bank. Parts that
they have called defective never do; they are what the new bundle is tested on. It is written only
where each of them that was found is found still, and where that does not cost more good parts.

Or from more pictures of good parts, as an answer to a line that looks otherwise than before: what
the bundle knows stays, and recorded parts are what it is tested on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from calibration.learning.copies import copies_of
from calibration.learning.evidence import Scored
from calibration.learning.photographs import Photographs
from calibration.scoring import learned_digests, left_out_scores
from calibration.teaching.choosing import Chosen, choose, shown_parts
from calibration.teaching.growing import grow
from calibration.teaching.lesson import Lesson, Pictures, Settings, flat
from calibration.teaching.new_bank import TeachableGraph
from calibration.teaching.teach import (
    require_new,
    require_outside,
    teachable,
    tell_left_behind,
    verified,
)
from calibration.teaching.trial import Trial, try_on
from calibration.teaching.writing import OPENVINO, Growth, Work, write
from calibration.threshold_rules import MAX_FALSE_REJECTS, first_threshold, peaks_of, promise
from runtime import atomic
from runtime.bundle.folder import Bundle
from runtime.bundle.thresholds import Threshold
from runtime.errors import StoreError, TrainingError
from runtime.images.dataset import Category
from runtime.images.preprocess import load_image
from runtime.progress import track
from runtime.sources.recorded import RecordedPart, recorded_parts
from runtime.types import Floats

log = logging.getLogger("lineside")

# Of those that would pass, named in a refusal.
_NAMED = 3
# Below the score of the least confirmed defect, as a share of it: beyond what engines differ by.
_BELOW = 1e-3


@dataclass(frozen=True)
class Grown:
    """What came of operators' words, or of more pictures.

    Attributes:
        taken: names of the parts whose patches were taken in.
        unseen: parts that would count, and whose picture is gone or cannot be read.
        known: parts that the bundle had learned before.
        prototypes_before: rows of the memory bank.
        prototypes: rows of the new one.
        left: of the old rows, those that left.
        threshold_before: raw score.
        threshold: of the new bundle.
        trial: what would have changed.
        seconds: that it took.
    """

    taken: tuple[str, ...]
    unseen: int
    known: int
    prototypes_before: int
    prototypes: int
    left: int
    threshold_before: float
    threshold: Threshold
    trial: Trial
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The fields of ``teach --from-feedback --json``."""
        return {
            "taken": len(self.taken),
            "without_picture": self.unseen,
            "known_before": self.known,
            "prototypes_before": self.prototypes_before,
            "prototypes": self.prototypes,
            "prototypes_left": self.left,
            "image_threshold_before": self.threshold_before,
            "image_threshold": self.threshold.image_threshold,
            "note": self.threshold.note,
            "trial": self.trial.to_json(),
            "seconds": round(self.seconds, 1),
        }


def teach_from_feedback(
    bundle: Path,
    store: str | None,
    out: Path | None,
    *,
    good: Path | None = None,
    seed: int = 0,
    max_false_rejects: float = MAX_FALSE_REJECTS,
) -> Grown:
    """Make a bundle that has learned more of its own part, and leave the old one as it is.

    Args:
        bundle: the PatchCore bundle that has judged the parts.
        store: folder of its records; None with ``good`` alone, where there are none to try it on.
        out: new bundle folder; None to find out what would come of it and write nothing.
        good: folder of pictures of good parts, as the line sees them now. They are learned instead
            of what operators have said, and with ten or more of them the check of pictures lets
            their like pass, and the drift test compares with them.
        seed: of everything random.
        max_false_rejects: share of good parts that the threshold may reject, in (0, 1).

    Raises:
        BundleError: the bundle is unusable, an older export, or of a model that cannot be taught.
        StoreError: no records of the bundle.
        TrainingError: nothing to learn; a defect that an operator has confirmed would pass; or
            something is at ``out`` already.
        ParityError: this machine computes something else than the bundle's certificate says.
        KeyboardInterrupt: interrupted; nothing half-written is left behind.
    """
    start = time.perf_counter()
    if out is not None:
        require_new(out)
        require_outside(out, bundle)
    promise(1, max_false_rejects, None)
    with Bundle.open(bundle) as base:
        graph, settings = teachable(base), Settings.of(base)
        base.require_part()
        tell_left_behind(base)
        size_hw = base.manifest.input.size_hw
        models = [base.manifest.model_fingerprint(), *base.manifest.grown_from]
        shown = [] if good is None else shown_parts(good)
        recorded = _recorded(store, models, needed=good is None)
        chosen = choose(recorded, base, graph, str(good or store), shown)
        on_base = verified(base)
        chosen = _judged_again(chosen, graph, settings, models[0], size_hw)
        lesson, bank_before = _grown(graph, settings, chosen, base, seed)
        photographs = _photographs(chosen, size_hw, base)
        left_out = lesson.left_out(chosen.pictures(chosen.good, size_hw), seed)
        others = _scored(lesson, chosen.pictures(chosen.others, size_hw))
        in_force = base.thresholds().of(OPENVINO.key).image_threshold
        threshold = _threshold(base, chosen, left_out, others, max_false_rejects)
        parts = [*chosen.good, *chosen.others]
        scores = np.concatenate([left_out.scores, others.scores])
        promised = threshold.image_threshold
        threshold = _keeping_defects(threshold, parts, scores, in_force)
        trial = try_on(parts, scores, in_force, threshold.image_threshold)
        if threshold.image_threshold < promised and trial.stopped_after > trial.stopped_before:
            _refuse(trial, try_on(parts, scores, in_force, promised), threshold.image_threshold)
        if out is not None:
            growth = Growth(
                base.health(), base.manifest.provenance, trial.to_json(), models, good is not None
            )
            category = Category(base.manifest.category, photographs.train, ())
            work = Work(
                base,
                graph,
                category,
                photographs,
                lesson,
                left_out,
                threshold,
                on_base,
                seed,
                growth,
                [chosen.paths[one.part_id] for one in chosen.others if _passed(one)],
            )
            with atomic.folder(out) as root:
                write(work, root, start)
                require_new(out)
    count, each, _ = lesson.patches.shape
    old = (lesson.chosen >= len(chosen.good) * each) & (lesson.chosen < count * each)
    kept = int(old.sum())
    return Grown(
        tuple(one.name for one in chosen.good),
        chosen.unseen,
        chosen.known,
        bank_before,
        len(lesson.chosen),
        bank_before - kept,
        in_force,
        threshold,
        trial,
        time.perf_counter() - start,
    )


def _recorded(store: str | None, models: list[str], *, needed: bool) -> list[RecordedPart]:
    """Recorded parts; where pictures are learned, none are needed, and it is said."""
    if store is None:
        return []
    try:
        return recorded_parts(store, models)
    except StoreError as error:
        if needed:
            raise
        log.warning(f"warning: not tried on recorded parts: {error}")
        return []


def _judged_again(
    chosen: Chosen,
    graph: TeachableGraph,
    settings: Settings,
    model: str,
    size_hw: tuple[int, int],
) -> Chosen:
    """With the scores that the bundle gives to what those before it have judged."""
    bank, network = graph.bank(), graph.patches(None)

    def judged(part: RecordedPart) -> RecordedPart:
        if part.bundle == model:
            return part
        found = network(load_image(chosen.paths[part.part_id], size_hw))[0]
        score, _ = settings.scorer.score(flat(found), bank, (found.shape[1], found.shape[2]))
        return dataclasses.replace(part, raw_score=score)

    return dataclasses.replace(
        chosen,
        good=[judged(one) for one in track(chosen.good, "judging again")],
        others=[judged(one) for one in track(chosen.others, "judging again")],
    )


def _grown(
    graph: TeachableGraph, settings: Settings, chosen: Chosen, base: Bundle, seed: int
) -> tuple[Lesson, int]:
    """The grown bank, and how many prototypes it had."""
    bank, network = graph.bank(), graph.patches(None)
    pictures = chosen.pictures(chosen.good, base.manifest.input.size_hw)
    maps = [network(pictures[place])[0] for place in track(range(len(pictures)), "new patches")]
    patches = np.stack([flat(one) for one in maps])
    copies = copies_of(
        lambda image: network(image)[0], pictures.paths, settings.augment, pictures.size_hw
    )
    rows = (len(learned_digests(base)) + len(patches)) * patches.shape[1]
    rows += 0 if copies is None else len(copies.patches)
    budget = min(math.ceil(rows * settings.coreset_ratio), settings.max_prototypes)
    both, places = grow(bank, patches, budget, seed, copies)
    grid_hw = (maps[0].shape[1], maps[0].shape[2])
    scorer, augment = settings.scorer, settings.augment
    return Lesson(None, both, grid_hw, places, network, scorer, copies, augment), len(bank)


def _scored(lesson: Lesson, pictures: Pictures) -> Scored:
    """What parts score that were not learned."""
    bank = lesson.bank
    found = [
        lesson.score(pictures[place], bank)
        for place in track(range(len(pictures)), "trying it on recorded parts")
    ]
    return Scored(np.array([score for score, _ in found]), [one for _, one in found])


def _threshold(
    base: Bundle, chosen: Chosen, left_out: Scored, others: Scored, rate: float
) -> Threshold:
    """By the rule of every first threshold, from all good parts that are known.

    Those that the old bundle has learned come with the scores that it gave them unseen; with them
    count recorded parts that were judged good and that nobody has said anything of. Those that were
    flagged and are without a word count for neither side.
    """
    size_hw, sigma = base.manifest.input.size_hw, base.manifest.anomaly_map.blur_sigma
    passed = [place for place, one in enumerate(chosen.others) if _passed(one)]
    before = np.array(list(left_out_scores(base).values())).reshape(-1, 2)
    maps = [*left_out.maps, *(others.maps[place] for place in passed)]
    scores = np.concatenate([before[:, 0], left_out.scores, others.scores[passed]])
    peaks = np.concatenate([before[:, 1], peaks_of(maps, size_hw, sigma)])
    return first_threshold(scores, peaks, rate, left_out=True)


def _passed(part: RecordedPart) -> bool:
    """Judged good, and nobody has said anything of it."""
    return not part.word and part.verdict == part.truth == "good"


def _keeping_defects(
    threshold: Threshold, parts: Sequence[RecordedPart], scores: Floats, in_force: float
) -> Threshold:
    """The threshold, lowered until every confirmed defect that was found is found."""
    found = [
        score
        for part, score in zip(parts, scores.tolist(), strict=True)
        if part.is_said_bad and part.raw_score > in_force
    ]
    if not found or min(found) > threshold.image_threshold:
        return threshold
    return dataclasses.replace(
        threshold,
        image_threshold=min(found) * (1.0 - _BELOW),
        median_good_score=min(threshold.median_good_score, min(found) * (1.0 - 2 * _BELOW)),
        method="manual",
        max_false_rejects=None,
        confidence=None,
        note=f"lowered from {threshold.image_threshold:.4g} so that each of {len(found)} defects "
        f"that operators have confirmed is found still; {threshold.image_threshold:.4g} would "
        f"have been: {threshold.note}",
    )


def _refuse(trial: Trial, promised: Trial, lowered: float) -> None:
    names = ", ".join(promised.lost[:_NAMED])
    more = len(promised.lost) - _NAMED
    raise TrainingError(
        f"expected every confirmed defect to be found still, found that {len(promised.lost)} would "
        f"pass: {names}{f' and {more} more' if more > 0 else ''}; a threshold that finds them "
        f"({lowered:.4g}) would stop {trial.stopped_after} of {trial.good + trial.unsaid} other "
        f"parts, {trial.stopped_before} are stopped now. No bundle was written: look at these "
        "parts and at the false alarms that are like them, and take a wrong word back"
    )


def _photographs(chosen: Chosen, size_hw: tuple[int, int], base: Bundle) -> Photographs:
    digests = tuple(chosen.digests[one.part_id] for one in chosen.good)
    before = str(base.manifest.provenance.get("data_fingerprint", ""))
    both = hashlib.sha256("".join([before, *sorted(digests)]).encode()).hexdigest()
    paths = tuple(chosen.paths[one.part_id] for one in chosen.good)
    return Photographs(paths, (), (), both, digests)
