"""What a neighbour store is: points of inspected parts, and the few things one can ask of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

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


class NeighborStore(Protocol):
    """Stores descriptors of inspected parts and finds the most similar ones.

    Safe to use from several threads.

    A store belongs to one bundle fingerprint and one embedding length, set when it is opened;
    points of another bundle or length are refused with a :class:`runtime.errors.StoreError` that
    says what to do.
    """

    bundle: str
    embedding_length: int

    def upsert(self, points: Sequence[PartPoint]) -> None:
        """Add points or replace those with the same id.

        On return they are on the disk, or the server has acknowledged them.

        A word that comes without its time is taken to be given now. The operator's word on a part
        that may be there already goes through :func:`edge_app.store.give_word`, which no other
        box's word is lost to.
        """

    def merge(self, points: Sequence[PartPoint]) -> Merged:
        """Take over parts of another store: missing ones are added, else the newest word wins.

        The rest of a part that is there stays as it is, and no time is filled in. Doing it again,
        or late, or in another order ends in the same words. Ids must differ.
        """

    def search(
        self, embedding: npt.NDArray[np.float32], k: int = 5, where: SearchFilter | None = None
    ) -> list[Neighbor]:
        """The k most similar parts by cosine similarity, best first; fewer if there are fewer."""

    def get(self, point_id: str) -> PartPoint | None:
        """One point, or None."""

    def fetch(self, point_ids: Sequence[str], *, full: bool = True) -> list[PartPoint]:
        """Those of the points that are there, in any order.

        Without ``full`` they lack descriptor and thumbnail.
        """

    def scroll(
        self, where: SearchFilter | None = None, batch: int = 256, *, full: bool = True
    ) -> Iterator[list[PartPoint]]:
        """All parts that satisfy the filter, in lists of at most ``batch``, by id.

        Parts written meanwhile may or may not appear; no part appears twice. Without ``full`` they
        lack descriptor and thumbnail, which is most of their size.
        """

    def delete(self, point_ids: Sequence[str], *, keep_confirmed: bool = False) -> None:
        """Remove parts; unknown ids do not matter.

        With ``keep_confirmed`` those with an operator's word stay.
        """

    def count(self, where: SearchFilter | None = None) -> int:
        """Number of stored parts."""

    def optimize(self, *, wait: bool = True) -> bool:
        """Make searching fast again after many parts were added; whether there was anything to do.

        A server does this by itself.

        Args:
            wait: False to do it in the background, now and whenever it is needed: for a page, whose
                searches are answered meanwhile.
        """

    def close(self) -> None:
        """Flush and release."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
