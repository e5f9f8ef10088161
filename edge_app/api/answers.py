"""What the API answers and takes, as it stands in OpenAPI."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import Field

from edge_app.api.problems import Problem
from edge_app.line import Inspected, Line
from edge_app.store import PartPoint
from edge_app.store.schema import Word
from edge_app.store.words import truth
from runtime.images.regions import Region

Verdict = Literal["good", "anomalous", "cannot_judge"]
# What may be said of a part; "" takes a word back.
Said = Literal["right", "wrong", ""]
Number = Annotated[float | None, Field(description="null where it is no finite number")]


@dataclass(frozen=True)
class StageTimes:
    """Milliseconds: until the line was free, then decoding, resizing, the graph, judging."""

    wait: float
    decode: float
    resize: float
    infer: float
    judge: float


@dataclass(frozen=True)
class Inspection:
    """The verdict on one picture, or the problem with it.

    Attributes:
        name: the file's name.
        bundle: which one has judged.
        verdict: null where there is a problem.
        raw_score: what the graph says; above the threshold a part is anomalous.
        normalized_score: in [0, 1], 0.5 at the threshold.
        threshold: on the raw score.
        reasons: why the part cannot be judged.
        times_ms: what each stage took.
        part_id: the part's record; null where none was asked for or stored.
        heat_map: the part under its heat map as PNG: a link, or base64, as asked; null where the
            engine has failed.
        regions: what lies above the pixel threshold, the largest first, in pixels of the picture;
            null where none were asked for.
        regions_left_out: how many smaller ones there are.
        drift: what has changed about the line's pictures.
        warning: what went wrong beside the verdict.
        store_problem: why the part was not recorded.
        problem: why there is no verdict.
    """

    name: str
    bundle: str
    verdict: Verdict | None = None
    raw_score: Number = None
    normalized_score: Number = None
    threshold: Number = None
    reasons: list[str] = field(default_factory=list)
    times_ms: StageTimes | None = None
    engine: str = ""
    precision: str = ""
    device: str = ""
    part_id: str | None = None
    heat_map: str | None = None
    regions: list[Region] | None = None
    regions_left_out: int = 0
    drift: str = ""
    warning: str = ""
    store_problem: str = ""
    problem: Problem | None = None


@dataclass(frozen=True)
class Inspections:
    """One entry for each picture, in the order of sending."""

    inspections: list[Inspection]


@dataclass(frozen=True)
class Part:
    """A recorded part.

    ``word`` is the newest; ``defect_type`` is what was known without it; ``truth`` is ``good``, a
    defect, ``anomalous`` or ``cannot_judge``, by the word, else by what was known, else by the
    verdict.
    """

    id: str
    bundle: str
    category: str
    name: str
    camera: str
    time: str
    verdict: str
    raw_score: Number
    normalized_score: Number
    defect_type: str
    word: str
    word_at: str
    word_by: str
    word_defect_type: str
    word_note: str
    truth: str
    picture: Annotated[str, Field(description="address of its thumbnail")]


@dataclass(frozen=True)
class PartsPage:
    """Newest first; ``next`` is the cursor of the page after this one, null on the last."""

    parts: list[Part]
    next: str | None


@dataclass(frozen=True)
class GivenWord:
    """What somebody said of a part, and on which verdict."""

    time: str
    who: str
    word: str
    verdict: str
    defect_type: str
    note: str


@dataclass(frozen=True)
class PartHistory:
    """A part with everything that was said of it, oldest first."""

    part: Part
    words: list[GivenWord]


@dataclass(frozen=True)
class LikePart:
    """An earlier part, and the cosine similarity of the descriptors, in [-1, 1]."""

    similarity: float
    part: Part


@dataclass(frozen=True)
class Neighbours:
    """The most similar parts, best first; below ``floor`` a part is like nothing seen before."""

    neighbours: list[LikePart]
    floor: float


@dataclass(frozen=True)
class Feedback:
    """A word on a part's verdict; it is added to what was said before."""

    word: Said
    defect_type: Annotated[str, Field(max_length=100)] = ""
    note: Annotated[str, Field(max_length=2000)] = ""


@dataclass(frozen=True)
class BundleCard:
    """A bundle at work; ``drift`` and ``warning`` are empty, or say what is the matter."""

    name: str
    label: str
    category: str
    model: str
    fingerprint: str
    width: int
    height: int
    engine: str
    precision: str
    device: str
    threshold: float
    threshold_method: str
    drift: str
    warning: str


@dataclass(frozen=True)
class Bundles:
    """The bundles that this box works with."""

    bundles: list[BundleCard]


def finite(value: float) -> float | None:
    """A number that JSON can hold."""
    return value if math.isfinite(value) else None


def inspection_of(
    line: Line,
    name: str,
    found: Inspected,
    *,
    part_id: str | None,
    store_problem: str,
    heat_map: str | None,
    regions: bool,
) -> Inspection:
    """A judged picture as it is answered."""
    prediction, times = found.prediction, found.prediction.times
    where = prediction.regions() if regions else None
    return Inspection(
        name=name,
        bundle=line.name,
        verdict=prediction.verdict,
        raw_score=finite(prediction.pred_score),
        normalized_score=finite(prediction.normalized_score),
        threshold=finite(prediction.threshold.image_threshold),
        reasons=[prediction.reason] if prediction.reason else [],
        times_ms=StageTimes(
            *(
                round(value, 3)
                for value in (
                    found.waited_ms,
                    times.decode,
                    times.resize,
                    times.infer,
                    times.judge,
                )
            )
        ),
        engine=prediction.engine,
        precision=prediction.precision,
        device=prediction.device,
        part_id=part_id,
        heat_map=heat_map,
        regions=None if where is None else list(where.found),
        regions_left_out=0 if where is None else where.left_out,
        drift=found.drift,
        warning=found.warning,
        store_problem=store_problem,
    )


def part_of(point: PartPoint, bundle: str, below: str) -> Part:
    """A stored part as it is answered: its picture's name, never its path on the box.

    Args:
        point: the part.
        bundle: name of its bundle.
        below: where the API lies.
    """
    return Part(
        id=point.point_id,
        bundle=bundle,
        category=point.category,
        name=file_name(point.path),
        camera=point.camera,
        time=point.time,
        verdict=point.verdict,
        raw_score=finite(point.raw_score),
        normalized_score=finite(point.normalized_score),
        defect_type=point.defect_type,
        word=point.confirmed,
        word_at=point.confirmed_at,
        word_by=point.confirmed_by,
        word_defect_type=point.confirmed_defect,
        word_note=point.confirmed_note,
        truth=truth(point.verdict, point.defect_type, point.confirmed, point.confirmed_defect),
        picture=f"{below}/parts/{point.point_id}/picture",
    )


def given(word: Word) -> GivenWord:
    """A word as it is answered."""
    return GivenWord(word.time, word.who, word.what, word.verdict, word.defect, word.note)


def file_name(path: str) -> str:
    """The last part of a path of any system."""
    return PurePosixPath(path.replace("\\", "/")).name
