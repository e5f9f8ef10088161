"""What ``/v1/teach`` answers and takes, as it stands in OpenAPI."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from edge_app.teaching.jobs import Kind

Named = Annotated[str, Field(min_length=1, max_length=60)]


@dataclass(frozen=True)
class NewDraft:
    """A part to teach.

    Attributes:
        bundle: the line that it is for, and whose bundle's network it is taught with.
        part: its name.
        add: whether it is the part that the bundle knows, which learns these pictures beside what
            it has learned.
    """

    bundle: Annotated[str, Field(max_length=200)]
    part: Named
    add: bool = False


@dataclass(frozen=True)
class Take:
    """Pictures that the box has.

    Attributes:
        source: ``good`` and ``all`` are the newest recorded parts, without those that an operator
            has called defective; ``folder`` is one that the box shows.
        count: at most so many.
        folder: one of ``folders``.
    """

    source: Literal["good", "all", "folder"]
    count: Annotated[int, Field(ge=1, le=500)] = 50
    folder: Annotated[str, Field(max_length=500)] = ""


@dataclass(frozen=True)
class TakeOut:
    """Whether a picture is left out."""

    out: bool


@dataclass(frozen=True)
class Chosen:
    """A version of a line's bundle; ``""`` is the bundle that the box was given."""

    bundle: Annotated[str, Field(max_length=200)]
    version: Annotated[str, Field(pattern="^(v[0-9]{4,9})?$")] = ""


@dataclass(frozen=True)
class DraftPicture:
    """One picture.

    Attributes:
        novelty: how new it is against those before it; 1 is what a usual part has left to teach
            once all others are known. Null until it was looked at, and of the first. Where the
            bundle learns more of its part, what it knows counts as before.
        apart: how far it is from the three that are most alike, 1 for a usual one; null until it
            was looked at.
        suspect: whether it is too far from the others to be one of them.
        out: whether it was taken out.
    """

    number: int
    name: str
    novelty: float | None
    apart: float | None
    suspect: bool
    out: bool


@dataclass(frozen=True)
class DraftState:
    """The part that is being taught.

    Attributes:
        mine: whether whoever asks has begun it.
        add: whether the bundle learns the pictures beside what it has learned.
        gain: by which share twice as many pictures bring each nearer to the others.
        enough: whether more would teach hardly anything.
    """

    bundle: str
    part: str
    who: str
    begun: str
    mine: bool
    add: bool
    pictures: list[DraftPicture]
    gain: float | None
    enough: bool


@dataclass(frozen=True)
class JobState:
    """What is under way, or was last; ``failed`` says why it came to nothing."""

    kind: Kind
    running: bool
    said: str
    seconds: int
    failed: str
    lines: list[str]


@dataclass(frozen=True)
class VersionState:
    """A version of a line's bundle; the first is the bundle that the box was given."""

    version: str
    part: str
    made: str
    who: str
    pictures: int
    live: bool


@dataclass(frozen=True)
class LineVersions:
    """A line, with the versions of its bundle.

    Attributes:
        teachable: whether its bundle can be taught from.
        blank: whether the bundle that judges has learned no part.
        drift: the alarm in force; empty if there is none.
    """

    bundle: str
    teachable: bool
    blank: bool
    drift: str
    versions: list[VersionState]
    can_go_back: bool


@dataclass(frozen=True)
class Change:
    """A recorded part that would be judged otherwise."""

    id: str
    name: str
    before: str
    after: str


@dataclass(frozen=True)
class TrialState:
    """A version tried on recorded parts.

    Attributes:
        judged: parts.
        without_picture: parts that could not be tried.
        stopped_before: of those judged.
        stopped_after: of those judged.
        changes: at most two dozen.
    """

    bundle: str
    version: str
    judged: int
    without_picture: int
    stopped_before: int
    stopped_after: int
    changed: int
    changes: list[Change] = field(default_factory=list)


@dataclass(frozen=True)
class TeachState:
    """All that the page shows.

    Attributes:
        folders: that pictures can be taken from.
        memory: earlier parts that are described for a version that judges now, or were last. Its
            ``lines`` are how many, and how many have no picture any more.
        refused: pictures that the last request brought and that were not taken, with the reason.
    """

    lines: list[LineVersions]
    folders: list[str]
    draft: DraftState | None
    job: JobState
    trial: TrialState | None
    memory: JobState
    refused: list[str] = field(default_factory=list)
