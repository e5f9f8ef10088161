"""What ``/v1/line`` and the looks of parts answer, as it stands in OpenAPI."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from edge_app.api.answers import Number, Verdict, file_name
from edge_app.live.board import SourceState, State
from edge_app.outputs.delivery import State as DeliveryState
from edge_app.records import Arrival, Counts
from edge_app.store.words import truth


@dataclass(frozen=True)
class LinePart:
    """A part that a source has brought.

    Attributes:
        number: its place in the journal; 0 until it is written down, negative where it cannot be.
        id: of its record; empty where the picture cannot be read.
        recorded: whether ``/v1/parts/{id}`` has it.
        truth: what it is: ``good``, a defect, ``anomalous`` or ``cannot_judge``; by the newest word
            on it, else by what was known of it, else by the verdict.
    """

    number: int
    id: str
    source: str
    name: str
    time: str
    verdict: Verdict
    raw_score: Number
    normalized_score: Number
    threshold: Number
    reason: str
    word: str
    truth: str
    recorded: bool


@dataclass(frozen=True)
class LineCounts:
    """Parts since midnight."""

    seen: int
    rejected: int
    cannot_judge: int
    overruled: int


@dataclass(frozen=True)
class LineSource:
    """A source as it is now.

    Attributes:
        state: ``waiting`` until it is there the first time, ``running``, ``away`` or ``ended``.
        trouble: why it is not running.
        in_work: parts that are being judged.
        newest: the part judged last.
        drift: the alarm in force; empty if there is none.
        warning: what is wrong beside the verdicts.
    """

    name: str
    bundle: str
    state: State
    trouble: str
    in_work: int
    newest: LinePart | None
    drift: str
    warning: str
    counts: LineCounts


@dataclass(frozen=True)
class LineOutput:
    """Who is told of every verdict.

    Attributes:
        state: ``waiting`` until the first delivery, ``running`` or ``away``.
        trouble: why it is away.
        waiting: parts that it has yet to be told of.
        lost: parts that were given up because too many waited.
    """

    name: str
    state: DeliveryState
    trouble: str
    waiting: int
    lost: int


@dataclass(frozen=True)
class LineState:
    """All that the operator's screen shows.

    Attributes:
        version: changes with every change; ``?after=`` takes it.
        sources: in the order of the configuration.
        waiting: flagged parts that nobody has looked at, oldest first; at most a hundred.
        newest: the newest parts, newest first.
        counts: of all sources together.
        outputs: in the order of the configuration.
        trouble: why the records cannot be read; the verdicts come all the same.
    """

    version: str
    sources: list[LineSource]
    waiting: list[LinePart]
    newest: list[LinePart]
    counts: LineCounts
    outputs: list[LineOutput]
    trouble: str


@dataclass(frozen=True)
class Span:
    """Parts of some minutes; ``begin`` is UTC, ISO 8601."""

    begin: str
    seen: int
    rejected: int


@dataclass(frozen=True)
class Rate:
    """Parts over time, all sources together, oldest first; spans without a part are left out."""

    minutes: int
    spans: list[Span]


@dataclass(frozen=True)
class LookedAt:
    """A flagged part that somebody has looked at."""

    number: int


@dataclass(frozen=True)
class Outline:
    """Where a part is anomalous.

    Attributes:
        contours: polygons of (x, y) as shares of the picture's width and height, largest first.
        has_heat: whether there is a heat map.
        width: of the picture in pixels, and ``height``; 0 where it is gone.
        whole: whether the picture is the part's own; else only a thumbnail is left of it.
    """

    contours: list[list[tuple[float, float]]]
    has_heat: bool
    width: int
    height: int
    whole: Annotated[bool, Field(description="false where only a thumbnail is left")]


def line_part(found: Arrival) -> LinePart:
    """An arrival as it is answered: its picture's name, never its path on the box."""
    return LinePart(
        number=found.number,
        id=found.id,
        source=found.source,
        name=file_name(found.name),
        time=found.time,
        verdict=found.verdict,  # type: ignore[arg-type]
        raw_score=found.raw_score,
        normalized_score=found.normalized_score,
        threshold=found.threshold,
        reason=found.reason,
        word=found.word,
        truth=truth(found.verdict, found.defect_type, found.word, found.word_defect),
        recorded=found.recorded,
    )


def line_source(state: SourceState, counts: Counts) -> LineSource:
    """A source as it is answered."""
    return LineSource(
        name=state.name,
        bundle=state.bundle,
        state=state.state,
        trouble=state.trouble,
        in_work=state.in_work,
        newest=None if state.newest is None else line_part(state.newest),
        drift=state.drift,
        warning=state.warning,
        counts=line_counts([counts]),
    )


def line_counts(found: list[Counts]) -> LineCounts:
    """Counts of several sources together."""
    return LineCounts(
        seen=sum(one.seen for one in found),
        rejected=sum(one.rejected for one in found),
        cannot_judge=sum(one.cannot_judge for one in found),
        overruled=sum(one.overruled for one in found),
    )
