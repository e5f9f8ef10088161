"""What the API answers of a bundle: its card, and what words say of its threshold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from edge_app.api.answers import Number, Part


@dataclass(frozen=True)
class ThresholdState:
    """A threshold of the variant at work, now or earlier.

    Attributes:
        state: ``in force``, ``replaced`` or ``undone``.
        max_false_rejects: promised share of good parts rejected; null where nothing is promised.
        n_good: good parts behind it.
    """

    state: str
    image_threshold: Number
    pixel_threshold: Number
    median_good_score: Number
    method: str
    n_good: int
    max_false_rejects: Number
    confidence: Number
    note: str
    set_at: str


@dataclass(frozen=True)
class Day:
    """Words of one day of the box's clock, the newest on each part.

    Attributes:
        right: verdicts that were called right.
        false_rejects: rejected parts that were called good.
        misses: passed parts that were called bad.
    """

    day: str
    right: int
    false_rejects: int
    misses: int


@dataclass(frozen=True)
class Outcome:
    """What one threshold does.

    Attributes:
        image_threshold: raw score above which a part is anomalous.
        false_rejects: confirmed good parts that it rejects.
        misses: confirmed bad parts that it passes.
        rejected: of the newest parts, those that it rejects.
    """

    image_threshold: float
    false_rejects: int
    misses: int
    rejected: int


@dataclass(frozen=True)
class Suggestion:
    """Another threshold, and what it would have done.

    Attributes:
        then: what it does.
        released: of the newest parts, those rejected now that it would pass.
        stopped: those passed now that it would reject.
        unconfirmed: of both together, those that nobody knows the kind of.
        changed: the newest of both, at most a dozen.
    """

    then: Outcome
    released: int
    stopped: int
    unconfirmed: int
    changed: list[Part]


@dataclass(frozen=True)
class Review:
    """What the operators' words say.

    Attributes:
        bundle: its name.
        confirmed_good: parts that are good by a word, or by the folder that they came from.
        confirmed_bad: parts that are bad by one of both.
        days: oldest first.
        newest: how many of the newest parts ``rejected`` counts.
        now: what the threshold in force does to them.
        suggestion: another threshold with fewer mistakes; null where there is none.
        why_none: why there is no suggestion.
    """

    bundle: str
    confirmed_good: int
    confirmed_bad: int
    days: list[Day]
    newest: int
    now: Outcome
    suggestion: Suggestion | None
    why_none: str


@dataclass(frozen=True)
class NewThreshold:
    """A threshold to take over.

    Attributes:
        image_threshold: raw score above which a part is anomalous.
        in_force: the one that it replaces: where somebody has changed it meanwhile, nothing is set.
        note: why, for those who come later.
    """

    image_threshold: Annotated[float, Field(allow_inf_nan=False)]
    in_force: Annotated[float, Field(allow_inf_nan=False)]
    note: Annotated[str, Field(max_length=500)] = ""


@dataclass(frozen=True)
class Histogram:
    """Raw scores of the newest parts, ``cannot_judge`` left out.

    Attributes:
        edges: of the bins, one more than there are bins.
        good: parts in each bin that are good, by their word, else by their verdict.
        bad: those that are not.
        learned: whether the good ones are those that the bundle has learned from, each scored
            without itself: no good part is recorded yet.
    """

    edges: list[float]
    good: list[int]
    bad: list[int]
    learned: bool = False


@dataclass(frozen=True)
class HealthLimit:
    """What a statistic of a picture may be; null where it may be anything."""

    name: str
    low: Number
    high: Number


@dataclass(frozen=True)
class Card:
    """All that a bundle says of itself.

    ``provenance``, ``metrics``, ``certificate`` and ``recipe`` stand so in its bundle.json.
    ``licenses`` says the terms of ``weights`` and ``data``, as far as they are known.
    """

    name: str
    category: str
    model: str
    fingerprint: str
    width: int
    height: int
    engine: str
    precision: str
    device: str
    variants: list[str]
    megabytes: float
    thresholds: list[ThresholdState]
    health: list[HealthLimit]
    health_good: int
    scores: Histogram
    licenses: dict[str, str]
    recipe: dict[str, Any]
    provenance: dict[str, Any]
    metrics: dict[str, Any]
    certificate: dict[str, Any]


@dataclass(frozen=True)
class Replay:
    """The golden pictures on this device, see ``lineside verify``.

    Attributes:
        holds: whether the device computes what the model did at export.
    """

    variant: str
    device: str
    images: int
    max_score_difference: Number
    p99_map_difference: Number
    verdict_flips: int
    bound: float
    holds: bool
