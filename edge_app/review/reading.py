"""What the records say of a bundle: words by day, a suggested threshold, scores, its card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from edge_app.api.answers import finite, part_of
from edge_app.line import Line
from edge_app.review.bundle_answers import (
    Card,
    Day,
    HealthLimit,
    Histogram,
    Outcome,
    Review,
    Suggestion,
    ThresholdState,
)
from edge_app.review.suggesting import FEWEST, Confirmed, mistakes, suggested
from edge_app.store import PartPoint, SearchFilter
from edge_app.store.words import moment, truth
from runtime.bundle.manifest import LEFT_OUT_SCORES, LICENSES
from runtime.bundle.thresholds import Threshold
from runtime.bundle.thresholds_file import rows_of
from runtime.errors import HealthError

# Parts that a suggestion is tried on, and that a histogram counts.
NEWEST = 1000
MOST_WORDS = 5000
_SHOWN = 12
_BINS = 40
_DAYS = 30
_EPOCH = datetime.fromtimestamp(0, UTC)


def review_of(line: Line, below: str, missed_cost: float) -> Review:
    """Words by day, and the threshold that they speak for.

    Args:
        line: of the bundle.
        below: where the API lies.
        missed_cost: what a missed part costs, in good parts that are rejected.

    Raises:
        StoreError: the records cannot be read.
    """
    said = [one for one in _with_words(line) if _is_bad(one) is not None]
    newest = [one for one in _newest(line) if one.verdict != "cannot_judge"]
    threshold = line.inspector.threshold
    # A folder that was indexed by defect says as much as a word.
    known = {
        one.point_id: one
        for one in (*newest, *said)
        if _is_bad(one) is not None and not one.judged_by
    }
    confirmed = [Confirmed(one.raw_score, bool(_is_bad(one))) for one in known.values()]
    now = _outcome(threshold.image_threshold, confirmed, newest)
    found = suggested(
        confirmed, threshold.image_threshold, threshold.median_good_score, missed_cost
    )
    return Review(
        bundle=line.name,
        confirmed_good=sum(not one.is_bad for one in confirmed),
        confirmed_bad=sum(one.is_bad for one in confirmed),
        days=_days(said),
        newest=len(newest),
        now=now,
        suggestion=None
        if found is None
        else _suggestion(found, now, confirmed, newest, (line.name, below)),
        why_none="" if found is not None else _why_none(confirmed, now),
    )


def _suggestion(
    found: float,
    now: Outcome,
    confirmed: Sequence[Confirmed],
    newest: Sequence[PartPoint],
    where: tuple[str, str],
) -> Suggestion:
    low, high = sorted((found, now.image_threshold))
    changed = [one for one in newest if low < one.raw_score <= high]
    released = len(changed) if found > now.image_threshold else 0
    return Suggestion(
        then=_outcome(found, confirmed, newest),
        released=released,
        stopped=len(changed) - released,
        unconfirmed=sum(_is_bad(one) is None for one in changed),
        changed=[part_of(one, *where) for one in changed[:_SHOWN]],
    )


def _why_none(confirmed: Sequence[Confirmed], now: Outcome) -> str:
    if len(confirmed) < FEWEST:
        return f"too few words: {len(confirmed)} of {FEWEST}"
    wrong = now.false_rejects + now.misses
    return "no threshold makes fewer mistakes" if wrong else "no mistake to mend"


def _outcome(
    threshold: float, confirmed: Sequence[Confirmed], newest: Sequence[PartPoint]
) -> Outcome:
    found = mistakes(confirmed, threshold)
    rejected = sum(one.raw_score > threshold for one in newest)
    return Outcome(threshold, found.false_rejects, found.misses, rejected)


def _days(said: Sequence[PartPoint]) -> list[Day]:
    """The newest days with words, oldest first."""
    right, false_rejects, misses = Counter[str](), Counter[str](), Counter[str]()
    for one in said:
        day = moment(one.confirmed_at, _EPOCH).astimezone().date().isoformat()
        if one.confirmed == "right":
            right[day] += 1
        else:
            (misses if one.verdict == "good" else false_rejects)[day] += 1
    days = sorted({*right, *false_rejects, *misses})[-_DAYS:]
    return [Day(day, right[day], false_rejects[day], misses[day]) for day in days]


def _with_words(line: Line) -> list[PartPoint]:
    where = SearchFilter(confirmed_only=True)
    return line.store.recent(where, None, MOST_WORDS)


def _newest(line: Line) -> list[PartPoint]:
    """Those that the bundle at work has judged: another one's scores compare with nothing here."""
    found = line.store.recent(SearchFilter(), None, NEWEST)
    return [one for one in found if not one.judged_by]


def _is_bad(point: PartPoint) -> bool | None:
    """What a part is by its word, else by its folder; None where nobody has said."""
    if point.verdict not in ("good", "anomalous") or not (point.confirmed or point.defect_type):
        return None
    return truth(point.verdict, point.defect_type, point.confirmed) != "good"


def histogram_of(line: Line) -> Histogram:
    """Raw scores of the newest parts; of those learned from, while no good part is recorded.

    Raises:
        StoreError: the records cannot be read.
    """
    parts = [one for one in _newest(line) if one.verdict != "cannot_judge"]
    scores = np.array([one.raw_score for one in parts], float)
    is_good = np.array(
        [
            truth(one.verdict, one.defect_type, one.confirmed, one.confirmed_defect) == "good"
            for one in parts
        ],
        bool,
    )
    learned = [] if is_good.any() else _left_out(line)
    scores, is_good = np.append(scores, learned), np.append(is_good, np.ones(len(learned), bool))
    threshold = line.inspector.threshold
    span = [*scores.tolist(), threshold.image_threshold, threshold.median_good_score]
    edges = np.linspace(min(span), max(*span, min(span) + 1e-9), _BINS + 1)
    good, bad = (np.histogram(scores[chosen], edges)[0] for chosen in (is_good, ~is_good))
    return Histogram(edges.round(6).tolist(), good.tolist(), bad.tolist(), learned=bool(learned))


def _left_out(line: Line) -> list[float]:
    """Scores of the parts that fp32 has learned from, each by a model that had not seen it."""
    known = line.inspector.bundle.manifest.provenance.get(LEFT_OUT_SCORES, {})
    if line.inspector.variant.precision != "fp32" or not isinstance(known, dict):
        return []
    return [
        float(one[0])
        for one in known.values()
        if isinstance(one, list | tuple) and one and isinstance(one[0], int | float)
    ]


def card_of(line: Line) -> Card:
    """All that a bundle says of itself, and the scores of its newest parts.

    Raises:
        BundleError: it was changed meanwhile.
        StoreError: the records cannot be read.
    """
    inspector = line.inspector
    bundle, variant = inspector.bundle, inspector.variant
    manifest = bundle.manifest
    height, width = inspector.size_hw
    try:
        health = bundle.health()
    except HealthError:
        health = None
    return Card(
        name=line.name,
        category=manifest.category,
        model=manifest.model,
        fingerprint=line.store.bundle,
        width=width,
        height=height,
        engine=variant.engine,
        precision=variant.precision,
        device=inspector.device,
        variants=[one.key for one in manifest.variants],
        megabytes=round(sum(one.size for one in manifest.files.values()) / 1e6, 1),
        thresholds=thresholds_at_work(line),
        health=[]
        if health is None
        else [HealthLimit(name, one.low, one.high) for name, one in health.limits.items()],
        health_good=0 if health is None else health.n_good,
        scores=histogram_of(line),
        licenses=_licenses(manifest.provenance),
        recipe=manifest.recipe,
        provenance=_without_scores(manifest.provenance),
        metrics=manifest.metrics,
        certificate=manifest.certificate,
    )


def thresholds_at_work(line: Line) -> list[ThresholdState]:
    """Thresholds of the variant at work, the one in force first, then the newest of the others."""
    key = line.inspector.variant.key
    rows = rows_of(line.inspector.bundle.thresholds(), [key], history=True)
    return [_state(row) for row in reversed(rows)]


def _state(row: dict[str, object]) -> ThresholdState:
    def number(name: str) -> float | None:
        value = row.get(name)
        return finite(float(value)) if isinstance(value, int | float) else None

    n_good = row.get("n_good")
    return ThresholdState(
        state=str(row.get("state", "")),
        image_threshold=number("image_threshold"),
        pixel_threshold=number("pixel_threshold"),
        median_good_score=number("median_good_score"),
        method=str(row.get("method", "")),
        n_good=n_good if isinstance(n_good, int) else 0,
        max_false_rejects=number("max_false_rejects"),
        confidence=number("confidence"),
        note=str(row.get("note", "")),
        set_at=str(row.get("set_at", "")),
    )


def _licenses(provenance: dict[str, object]) -> dict[str, str]:
    """Of weights and data; a bundle of before says nothing."""
    found = provenance.get(LICENSES)
    known = found if isinstance(found, dict) else {}
    return {what: str(known.get(what, "")) for what in ("weights", "data")}


def _without_scores(provenance: dict[str, object]) -> dict[str, object]:
    """Long lists, by their length: a score for each part is for programs."""
    return {
        name: f"{len(value)} entries"
        if isinstance(value, dict | list) and len(value) > _SHOWN
        else value
        for name, value in provenance.items()
        if name != LICENSES
    }


def in_force(line: Line) -> Threshold:
    """The threshold as the file has it now."""
    return line.inspector.bundle.thresholds().of(line.inspector.variant.key)
