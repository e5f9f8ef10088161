"""Neighbours in the report: parts with the five most like them, and how often those are defective too.

Exact, among the test parts themselves, each part left out of its own search. The page asks a store
of earlier parts instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from calibration.evaluation import Evaluation
from calibration.report.pictures import data_uri, shrunk
from runtime.images.preprocess import decode_rgb

K = 5
_LONG_SIDE = 130


@dataclass(frozen=True)
class Shown:
    """A part in a row of neighbours.

    Attributes:
        name: ``<folder>/<file>``, as found on disk: to be escaped.
        defect_type: label, as found on disk: to be escaped.
        similarity: cosine, 1 for the query itself.
        picture: data URI.
    """

    name: str
    defect_type: str
    similarity: float
    picture: str


@dataclass(frozen=True)
class Neighbors:
    """What the chapter on neighbours shows.

    Attributes:
        n_flagged: flagged parts, which are the queries of both shares.
        anomalous: share of defective parts among their five nearest; NaN where nothing was flagged.
        same_type: the same for parts with the query's own label.
        rows: the query first, then its five nearest.
    """

    n_flagged: int
    anomalous: float
    same_type: float
    rows: tuple[tuple[Shown, ...], ...]


def neighbors(evaluation: Evaluation, count: int) -> Neighbors | None:
    """Neighbours of flagged parts, one of each kind in turn, and of one part that was passed.

    Args:
        evaluation: with the descriptors of its parts.
        count: largest number of rows.

    Returns:
        None where there are too few parts to have five neighbours.
    """
    if len(evaluation.parts) <= K:
        return None
    similarity = evaluation.embeddings @ evaluation.embeddings.T
    np.fill_diagonal(similarity, -np.inf)
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :K]
    kinds = np.array([part.defect_type for part in evaluation.parts])
    flagged = np.flatnonzero(
        evaluation.judged & (evaluation.scores > evaluation.threshold.image_threshold)
    )
    near = nearest[flagged]
    queries = _queries(evaluation, kinds, flagged)[:count]
    return Neighbors(
        n_flagged=len(flagged),
        anomalous=float(evaluation.labels[near].mean()) if len(flagged) else float("nan"),
        same_type=float((kinds[near] == kinds[flagged, None]).mean())
        if len(flagged)
        else float("nan"),
        rows=tuple(
            (
                _shown(evaluation, query, 1.0),
                *(_shown(evaluation, one, float(similarity[query, one])) for one in nearest[query]),
            )
            for query in queries
        ),
    )


def _queries(evaluation: Evaluation, kinds: np.ndarray, flagged: np.ndarray) -> Sequence[int]:
    """The flagged part in the middle of each kind by score, then the most ordinary good part."""
    found = []
    for kind in sorted({str(kinds[index]) for index in flagged if evaluation.labels[index]}):
        mine = flagged[kinds[flagged] == kind]
        found.append(int(mine[np.argsort(evaluation.scores[mine], kind="stable")][len(mine) // 2]))
    passed = np.flatnonzero(evaluation.judged & ~evaluation.labels)
    if len(passed):
        ordinary = int(
            passed[np.argsort(evaluation.scores[passed], kind="stable")][len(passed) // 2]
        )
        # Before the last kinds, so that a short list has it too.
        found.insert(min(len(found), 2), ordinary)
    return found


def _shown(evaluation: Evaluation, index: int, similarity: float) -> Shown:
    part = evaluation.parts[index]
    return Shown(
        name=f"{part.path.parent.name}/{part.path.name}",
        defect_type=part.defect_type,
        similarity=similarity,
        picture=data_uri(shrunk(decode_rgb(part.path), _LONG_SIDE)),
    )
