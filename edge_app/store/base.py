"""What a neighbor store holds and answers: points of inspected parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class PartPoint:
    """One inspected part.

    Attributes:
        point_id: UUID string, deterministic from content hash and bundle, so that indexing twice
            changes nothing.
        embedding: float32 (D,), L2-normalised defect descriptor.
        bundle: fingerprint of the model that made the embedding; vectors of different bundles never
            mix.
        category: kind of part.
        path: where the picture is.
        verdict: ``good``, ``anomalous`` or ``cannot_judge``, as judged when it was stored.
        raw_score: the raw ``pred_score``.
        normalized_score: in [0, 1], 0.5 at the threshold.
        defect_type: name of the defect where it is known, ``"good"`` for a good part, else ``""``.
        time: UTC, ISO 8601.
        camera: name of the camera, or ``""``.
        confirmed: the operator's word: ``"right"``, ``"wrong"`` or ``""`` if nobody has said
            anything.
        thumbnail: JPEG bytes, base64, at most some 10 kB, or ``""``.
        confirmed_at: when the word was given or taken back, UTC, ISO 8601; ``""`` if nobody has
            said anything, or if it was said before this field existed. Where two boxes differ, the
            newest word wins.
        confirmed_by: who gave the word, or ``""``.
    """

    point_id: str
    embedding: npt.NDArray[np.float32]
    bundle: str
    category: str
    path: str
    verdict: str
    raw_score: float
    normalized_score: float
    defect_type: str = ""
    time: str = ""
    camera: str = ""
    confirmed: str = ""
    thumbnail: str = ""
    confirmed_at: str = ""
    confirmed_by: str = ""

    def payload(self) -> dict[str, Any]:
        """Everything but id and vector, as stored."""
        return {
            name: value
            for name, value in vars(self).items()
            if name not in ("point_id", "embedding")
        }


@dataclass(frozen=True)
class Neighbor:
    """An earlier part that looks like the query.

    Attributes:
        similarity: cosine similarity of the descriptors, in [-1, 1].
        point: the stored part (its ``embedding`` is empty unless asked for).
    """

    similarity: float
    point: PartPoint


@dataclass(frozen=True)
class SearchFilter:
    """What neighbours must satisfy; None means any.

    Attributes:
        category: kind of part.
        verdict: verdict when stored.
        confirmed_only: only parts on which the operator has given a word.
        since: ISO 8601 UTC time, inclusive.
        until: ISO 8601 UTC time, exclusive.
        exclude_ids: point ids to leave out, e.g. the query itself.
    """

    category: str | None = None
    verdict: str | None = None
    confirmed_only: bool = False
    since: str | None = None
    until: str | None = None
    exclude_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Merged:
    """What :meth:`NeighborStore.merge` changed.

    Attributes:
        added: number of parts that the store had not.
        words: number of parts whose operator's word was older there.
        unchanged: number of the rest.
    """

    added: int = 0
    words: int = 0
    unchanged: int = 0

    def __add__(self, other: Merged) -> Merged:
        return Merged(
            self.added + other.added, self.words + other.words, self.unchanged + other.unchanged
        )
