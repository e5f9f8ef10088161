"""What one can ask of a neighbor store, whatever it is kept in."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from edge_app.store.schema import (
    Checked,
    Merged,
    Neighbor,
    PartPoint,
    Place,
    SearchFilter,
    Word,
    checked_embedding,
    checked_filter,
    checked_id,
    checked_number,
    checked_point,
    utc_time,
)
from runtime.closing import Closeable
from runtime.types import Embedding


class NeighborStore(Closeable):
    """Stores descriptors of inspected parts and finds the most similar ones. Safe in threads.

    A store belongs to one bundle fingerprint and one embedding length, set when it is opened;
    points of another bundle or length are refused with a message that says what to do. What comes
    in is checked here; a kind of store implements the methods with an underscore. Every method
    raises :class:`runtime.errors.StoreError` where what it is given is unusable (nothing is written
    then), or the store is closed or cannot be read or written.

    Args:
        bundle: fingerprint of the model.
        embedding_length: length of its descriptors.
    """

    def __init__(self, bundle: str, embedding_length: int) -> None:
        self.bundle = bundle
        self.embedding_length = embedding_length

    def upsert(self, points: Sequence[PartPoint]) -> None:
        """Add points or replace those with the same id.

        On return they are on the disk, or the server has acknowledged them. A word that comes
        without its time is taken to be given now. The operator's word on a part that may be there
        already goes through :func:`edge_app.store.give_word`, which no other box's word is lost to.
        """
        checked = [
            checked_point(point, self.bundle, self.embedding_length, stamp=True) for point in points
        ]
        self._upsert(checked)

    def merge(self, points: Sequence[PartPoint]) -> Merged:
        """Take over parts of another store: missing ones are added, else the newest word wins.

        The rest of a part that is there stays as it is, and no time is filled in. Doing it again,
        or late, or in another order ends in the same words. Ids must differ.
        """
        return self._merge(
            [checked_point(point, self.bundle, self.embedding_length) for point in points]
        )

    def search(
        self, embedding: npt.NDArray[np.float32], k: int = 5, where: SearchFilter | None = None
    ) -> list[Neighbor]:
        """The k most similar parts by cosine similarity, best first; fewer if there are fewer."""
        vector = checked_embedding(embedding, self.embedding_length)
        return self._search(vector, checked_number(k, "k"), checked_filter(where))

    def get(self, point_id: str) -> PartPoint | None:
        """One point, or None."""
        found = self.fetch([point_id])
        return found[0] if found else None

    def fetch(self, point_ids: Sequence[str], *, full: bool = True) -> list[PartPoint]:
        """Those of the points that are there, in any order.

        Without ``full`` they lack descriptor and thumbnail.
        """
        return self._fetch([checked_id(value) for value in point_ids], full=full)

    def scroll(
        self, where: SearchFilter | None = None, batch: int = 256, *, full: bool = True
    ) -> Iterator[list[PartPoint]]:
        """All parts that satisfy the filter, in lists of at most ``batch``, by id.

        Parts written meanwhile may or may not appear; no part appears twice. Without ``full`` they
        lack descriptor and thumbnail, which is most of their size.
        """
        wanted, size = checked_filter(where), checked_number(batch, "batch")
        yield from self._scroll(wanted, size, full=full)

    def recent(
        self, where: SearchFilter | None = None, before: Place | None = None, size: int = 50
    ) -> list[PartPoint]:
        """The newest parts that satisfy the filter, newest first, without descriptor and thumbnail.

        Args:
            where: what they must satisfy.
            before: time and id of the last part of the list that this one goes on after.
            size: at most so many.
        """
        place = None
        if before is not None:
            place = (utc_time(before[0]) if before[0] else "", checked_id(before[1]))
        return self._recent(checked_filter(where), place, checked_number(size, "size"))

    def words(self, point_id: str) -> list[Word]:
        """What was said of a part, oldest first; a server keeps the newest word alone."""
        return self._words(checked_id(point_id))

    def delete(self, point_ids: Sequence[str], *, keep_confirmed: bool = False) -> None:
        """Remove parts; unknown ids do not matter.

        With ``keep_confirmed`` those with an operator's word stay.
        """
        self._delete([checked_id(value) for value in point_ids], keep_confirmed=keep_confirmed)

    def count(self, where: SearchFilter | None = None) -> int:
        """Number of stored parts that satisfy the filter, exact."""
        return self._count(checked_filter(where))

    @abstractmethod
    def optimize(self, *, wait: bool = True) -> bool:
        """Make searching fast again after many parts were added.

        Args:
            wait: False to do it in the background, now and whenever it is needed: for a page, whose
                searches are answered meanwhile.

        Returns:
            whether there was anything to do.
        """

    @abstractmethod
    def lag(self) -> int:
        """Number of writes that the search index has not taken in yet."""

    @abstractmethod
    def close(self) -> None:
        """Flush and release; a second call does nothing."""

    @abstractmethod
    def _upsert(self, checked: Sequence[Checked]) -> None: ...

    @abstractmethod
    def _merge(self, checked: Sequence[Checked]) -> Merged: ...

    @abstractmethod
    def _search(self, embedding: Embedding, k: int, where: SearchFilter) -> list[Neighbor]: ...

    @abstractmethod
    def _fetch(self, point_ids: Sequence[str], *, full: bool) -> list[PartPoint]: ...

    @abstractmethod
    def _scroll(
        self, where: SearchFilter, batch: int, *, full: bool
    ) -> Iterator[list[PartPoint]]: ...

    @abstractmethod
    def _recent(self, where: SearchFilter, before: Place | None, size: int) -> list[PartPoint]: ...

    @abstractmethod
    def _words(self, point_id: str) -> list[Word]: ...

    @abstractmethod
    def _delete(self, point_ids: Sequence[str], *, keep_confirmed: bool) -> None: ...

    @abstractmethod
    def _count(self, where: SearchFilter) -> int: ...
