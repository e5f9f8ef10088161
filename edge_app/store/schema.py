"""What a neighbor store holds and answers, and the checks before anything is written."""

from __future__ import annotations

import hashlib
import math
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import StoreError
from runtime.types import Embedding

VECTOR_NAME = "defect"
# Payload fields that filters use, with Qdrant's type of index.
INDEXED_FIELDS: Mapping[str, str] = {
    "category": "keyword",
    "verdict": "keyword",
    "confirmed": "keyword",
    "camera": "keyword",
    "defect_type": "keyword",
    "time": "datetime",
}
WORDS = ("right", "wrong", "")
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://lineside/neighbours")
_TEXT_FIELDS = (
    "bundle",
    "category",
    "path",
    "verdict",
    "defect_type",
    "time",
    "camera",
    "confirmed",
    "thumbnail",
    "confirmed_at",
    "confirmed_by",
    "confirmed_defect",
    "confirmed_note",
    "judged_by",
)
# Time and id of a part: where a list of the newest parts goes on.
Place = tuple[str, str]
# Id, descriptor and payload of a point that may be written.
Checked = tuple[str, Embedding, dict[str, Any]]


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
        confirmed_defect: the defect that they named, or ``""``.
        confirmed_note: what they wrote to it, or ``""``.
        judged_by: fingerprint of the bundle that gave verdict and scores where that was another
            one, and this bundle's descriptor was made of the picture later; ``""`` otherwise.
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
    confirmed_defect: str = ""
    confirmed_note: str = ""
    judged_by: str = ""

    @property
    def whereabouts(self) -> tuple[str, str, str]:
        """When, by which camera and as what it was seen: the same in the records of any bundle."""
        return self.time, self.camera, self.path

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
class Word:
    """What somebody said of a part.

    Attributes:
        time: UTC, ISO 8601; ``""`` where it is not known.
        who: ``""`` where nobody was named.
        what: ``right``, ``wrong``, or ``""`` for a word taken back.
        verdict: the verdict that the word is on.
        defect: the defect that they named, or ``""``.
        note: what they wrote to it, or ``""``.
    """

    time: str
    who: str
    what: str
    verdict: str
    defect: str = ""
    note: str = ""


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
        camera: name of the camera.
        confirmed: the operator's word; ``""`` for parts on which nobody has said anything.
        min_score: lowest ``normalized_score``, inclusive.
        max_score: highest ``normalized_score``, inclusive.
    """

    category: str | None = None
    verdict: str | None = None
    confirmed_only: bool = False
    since: str | None = None
    until: str | None = None
    exclude_ids: tuple[str, ...] = ()
    camera: str | None = None
    confirmed: str | None = None
    min_score: float | None = None
    max_score: float | None = None


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


def point_id(content: bytes, bundle: str) -> str:
    """Id of a part: the same picture inspected with the same model is the same point.

    Args:
        content: the picture file's bytes.
        bundle: fingerprint of the model.

    Returns:
        UUID (version 5) as a string.
    """
    return str(uuid.uuid5(_NAMESPACE, f"{bundle}:{hashlib.sha256(content).hexdigest()}"))


def bundle_key(bundle: str) -> str:
    """Sixteen characters that stand for a fingerprint in names of folders and collections."""
    if re.fullmatch(r"[0-9a-f]{16,64}", bundle):
        return bundle[:16]
    return hashlib.sha256(bundle.encode()).hexdigest()[:16]


def checked_embedding(embedding: npt.NDArray[Any], length: int) -> Embedding:
    """Check a descriptor.

    Args:
        embedding: array-like (length,).
        length: what the store holds.

    Returns:
        float32 (length,).

    Raises:
        StoreError: another shape, or a value that is not finite.
    """
    vector = np.asarray(embedding, dtype=np.float32)
    if vector.shape != (length,):
        raise StoreError(
            f"descriptor: expected shape ({length},), found {vector.shape}; it comes from another "
            "bundle: index the pictures again with the bundle in use"
        )
    if not np.isfinite(vector).all():
        raise StoreError(
            "descriptor: expected finite numbers, found NaN or infinity; run: lineside verify "
            "BUNDLE"
        )
    return vector


def checked_point(point: PartPoint, bundle: str, length: int, *, stamp: bool = False) -> Checked:
    """Check a point and take it apart.

    Args:
        point: the point.
        bundle: the store's bundle.
        length: the store's length of descriptors.
        stamp: True to take a word without a time to be given now.

    Returns:
        id, float32 (length,) descriptor, payload.

    Raises:
        StoreError: the point belongs to another bundle, or a field is unusable.
    """
    if point.bundle != bundle:
        raise StoreError(
            f"{point.path}: expected a part inspected with bundle {bundle[:16]}, found one of "
            f"{point.bundle[:16]}; descriptors of different bundles cannot be compared: index it "
            "again with the bundle in use"
        )
    for name in ("raw_score", "normalized_score"):
        if not math.isfinite(getattr(point, name)):
            raise StoreError(
                f"{point.path}: expected a finite {name}, found {getattr(point, name)}; run: "
                "lineside verify BUNDLE"
            )
    checked_word(point.confirmed)
    payload = point.payload()
    for name in ("time", "confirmed_at"):
        if payload[name]:
            payload[name] = utc_time(payload[name])
    if stamp and point.confirmed and not point.confirmed_at:
        payload["confirmed_at"] = now()
    return checked_id(point.point_id), checked_embedding(point.embedding, length), payload


def checked_id(value: str) -> str:
    """Return a point id in canonical form.

    Raises:
        StoreError: not a UUID.
    """
    try:
        return str(uuid.UUID(value))
    except (ValueError, AttributeError, TypeError) as error:
        raise StoreError(
            f"point id: expected a UUID, found {value!r}; make it with "
            "edge_app.store.schema.point_id"
        ) from error


def utc_time(value: str) -> str:
    """Bring an ISO 8601 time to the one form that is stored, UTC; UTC where no zone is given.

    Raises:
        StoreError: not ISO 8601.
    """
    try:
        found = datetime.fromisoformat(value)
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise StoreError(
            f"time: expected ISO 8601 such as 2025-01-31T08:00:00+00:00, found {value!r}"
        ) from error
    return found.isoformat()


def now() -> str:
    """The time as stored with a word: UTC, ISO 8601, microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def checked_word(word: str) -> str:
    """Return the operator's word as it is.

    Raises:
        StoreError: not one of ``right``, ``wrong`` and the empty string.
    """
    if word not in WORDS:
        raise StoreError(f"confirmed: expected 'right', 'wrong' or '', found {word!r}")
    return word


def checked_filter(where: SearchFilter | None) -> SearchFilter:
    """Check a filter and bring its times and ids to the stored form; None lets everything through.

    Raises:
        StoreError: a time is not ISO 8601 or an id is no UUID.
    """
    where = where or SearchFilter()
    return replace(
        where,
        since=None if where.since is None else utc_time(where.since),
        until=None if where.until is None else utc_time(where.until),
        exclude_ids=tuple(checked_id(value) for value in where.exclude_ids),
        camera=where.camera or None,
    )


def checked_number(number: int, what: str) -> int:
    """Return a number of points that is at least one.

    Args:
        number: e.g. of neighbours asked for.
        what: its name, for the message.

    Raises:
        StoreError: less than one.
    """
    if number < 1:
        raise StoreError(f"{what}: expected at least 1, found {number}")
    return number


def point_of(identifier: Any, payload: Mapping[str, Any] | None, vector: Any = None) -> PartPoint:
    """Build a part from what Qdrant returns.

    Args:
        identifier: the point's id.
        payload: the stored payload; fields that are missing are empty, unknown ones are left out.
        vector: the descriptor, or None if it was not asked for.
    """
    found = payload or {}
    return PartPoint(
        point_id=str(identifier),
        embedding=np.asarray([] if vector is None else vector, dtype=np.float32),
        raw_score=_number(found.get("raw_score")),
        normalized_score=_number(found.get("normalized_score")),
        **{name: str(found.get(name) or "") for name in _TEXT_FIELDS},
    )


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
