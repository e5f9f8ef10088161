"""When an operator's word was given, and which of two words counts."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from edge_app.store.schema import PartPoint, now
from runtime.errors import StoreError

if TYPE_CHECKING:
    from edge_app.store.neighbor_store import NeighborStore

# A word is on a verdict, which another threshold would have made another one: they are kept and
# travel together.
WORD_FIELDS = (
    "confirmed",
    "confirmed_at",
    "confirmed_by",
    "confirmed_defect",
    "confirmed_note",
    "verdict",
    "raw_score",
    "normalized_score",
)
_ATTEMPTS = 3
_LAST = datetime.max.replace(tzinfo=UTC)
_NEVER = datetime.min.replace(tzinfo=UTC)


def give_word(
    store: NeighborStore,
    point: PartPoint,
    word: str,
    who: str = "",
    *,
    defect: str = "",
    note: str = "",
) -> None:
    """Store the operator's word on a part, on its verdict; and the part itself where it is missing.

    Safe while other boxes write to the same store: the newest word on a part wins.

    Args:
        store: an open store.
        point: the part as the operator saw it.
        word: ``right``, ``wrong``, or ``""`` to take a word back.
        who: the operator's name, or ``""``.
        defect: the defect that they name, or ``""``.
        note: what they write to it, or ``""``.

    Raises:
        StoreError: an unknown word, an unusable part, or the store cannot be read or written.
    """
    stored = store.fetch([point.point_id], full=False)
    said = replace(
        point,
        confirmed=word,
        confirmed_at=after(stored[0].confirmed_at if stored else ""),
        confirmed_by=who,
        confirmed_defect=defect,
        confirmed_note=note,
    )
    for _ in range(_ATTEMPTS):
        store.merge([said])
        # Another box may have removed the part between the store's own reading and writing.
        found = store.fetch([point.point_id], full=False)
        if found and not newer(said, found[0]):
            return
    raise StoreError(
        f"{point.path}: expected the word '{word}' to be stored, found "
        f"{'another' if found else 'the part removed meanwhile'}; give it again"
    )


def after(earlier: str) -> str:
    """A time for a word that replaces another: now, but later even if this box's clock is slow.

    Args:
        earlier: ``confirmed_at`` of the word that is replaced, or ``""``.
    """
    if not earlier:
        return now()
    known = moment(earlier, _NEVER)
    following = known + timedelta(microseconds=1) if known < _LAST else known
    return max(datetime.now(UTC), following).isoformat(timespec="microseconds")


def with_word_of(point: PartPoint, other: PartPoint) -> PartPoint:
    """A part with the word of another record of it, and the verdict that the word is on."""
    return replace(point, **{name: getattr(other, name) for name in WORD_FIELDS})


def newer(one: PartPoint, other: PartPoint) -> bool:
    """Whether the word on ``one`` replaces that on ``other``.

    Every store decides alike: the later word wins, one without a time is older than any other, and
    of two words of the same time ``wrong`` beats ``right`` and ``right`` beats none.
    """
    return _rank(one) > _rank(other)


def _rank(point: PartPoint) -> tuple[datetime, str]:
    return moment(point.confirmed_at, _NEVER), point.confirmed


def moment(text: str, unknown: datetime) -> datetime:
    """A stored time, UTC where no zone is given; ``unknown`` where it is empty or none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return unknown
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def truth(verdict: str, defect_type: str, word: str, word_defect: str = "") -> str:
    """What a part is: by the operator's word, else by what was known of it, else by the verdict.

    Args:
        verdict: ``good``, ``anomalous`` or ``cannot_judge``.
        defect_type: what was known without a word: a defect, ``good`` or ``""``.
        word: ``right``, ``wrong`` or ``""``.
        word_defect: the defect that the word names, or ``""``.

    Returns:
        ``good``, a defect, ``anomalous`` where nobody has named it, or ``cannot_judge``.
    """
    if not word or verdict not in ("good", "anomalous"):
        return defect_type or verdict
    is_good = (verdict == "good") == (word == "right")
    if is_good:
        return "good"
    return word_defect or (defect_type if defect_type != "good" else "") or "anomalous"
