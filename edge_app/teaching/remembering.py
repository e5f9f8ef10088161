"""Parts of before are described once more when another version goes live, so that it knows them.

Descriptors of two versions do not compare: each says how a part differs from its own bank, along
its own components. So the pictures that are left are described by the version at work. Only one
that has learned more of its part has the components of before: there a descriptor is kept where the
picture is gone. What was said of the parts then, verdict and word, stays as it was.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from edge_app.live.keeping import frame_of, known_by, own_file, share_frame
from edge_app.records import Database, PartRecords
from edge_app.records.parts import bundles
from edge_app.store import NeighborStore, PartPoint, SearchFilter
from edge_app.store.schema import point_id
from runtime.errors import ImageError
from runtime.images.preprocess import decode_rgb
from runtime.inspector import Inspector

# Parts at most: those with a word first, then the newest.
MOST = 2000
_BATCH = 16
_NICE = 10


@dataclass(frozen=True)
class Remembered:
    """What became of the parts.

    Attributes:
        described: by the version at work, or with a descriptor that compares with its own.
        gone: whose picture is gone.
    """

    described: int
    gone: int


def earlier_parts(store: Path, fingerprints: Sequence[str]) -> list[PartPoint]:
    """Recorded parts of other bundles, each once: those with a word, then the others, newest first.

    Args:
        store: folder of the records.
        fingerprints: of those bundles.

    Raises:
        StoreError: the records cannot be read.
    """
    database = Database(store)
    try:
        lengths = dict(bundles(database))
        records = [
            PartRecords(database, name, lengths[name], create=False)
            for name in fingerprints
            if name in lengths
        ]
        found: dict[tuple[str, str, str], PartPoint] = {}
        for where in (SearchFilter(confirmed_only=True), SearchFilter()):
            some = [one for part in records for one in part.recent(where, None, MOST)]
            for one in sorted(some, key=lambda one: (one.time, one.confirmed_at), reverse=True):
                found.setdefault(one.whereabouts, one)
        return [
            # With its thumbnail.
            whole
            for one in list(found.values())[:MOST]
            for part in records
            if part.bundle == one.bundle
            for whole in part.fetch([one.point_id], full=True)
        ]
    finally:
        database.close()


def describe_again(
    parts: Sequence[PartPoint],
    inspector: Inspector,
    store: NeighborStore,
    folder: Path,
    alike: Collection[str],
    said: Callable[[int, int], None],
) -> Remembered:
    """Add parts to the records of the version at work, with its own descriptors.

    What was added before an interruption stays, and doing it again adds what is missing.

    Args:
        parts: from :func:`earlier_parts`.
        inspector: of that version; nobody else may use it meanwhile.
        store: of that version.
        folder: of the records.
        alike: fingerprints of bundles whose descriptors compare with those of that version.
        said: is told how many were described and how many pictures are gone, and may raise.

    Raises:
        StoreError: they cannot be written, or the disk is full.
        EngineError: the engine fails.
    """
    since = min((one.time for one in parts), default="")
    pages = store.scroll(SearchFilter(since=since or None), full=False)
    there = {one.whereabouts: one.point_id for page in pages for one in page}
    waiting: list[PartPoint] = []
    described = gone = 0
    for part in parts:
        known = store.get(there.get(part.whereabouts, part.point_id))
        picture = None if known is not None else frame_of(folder, part) or own_file(part)
        found = None if picture is None else _described(part, picture, inspector, store, folder)
        if known is not None:
            # A word that came since may be newer.
            found = _moved(replace(part, embedding=known.embedding), known.point_id, store.bundle)
        elif found is None and part.bundle in alike:
            found = _moved(part, point_id(part.point_id.encode(), store.bundle), store.bundle)
        if found is None:
            gone += 1
        else:
            waiting.append(found)
            described += 1
        if len(waiting) >= _BATCH:
            store.merge(waiting)
            waiting.clear()
        said(described, gone)
    if waiting:
        store.merge(waiting)
    return Remembered(described, gone)


def _described(
    part: PartPoint,
    picture: tuple[Path, bytes],
    inspector: Inspector,
    store: NeighborStore,
    folder: Path,
) -> PartPoint | None:
    """The part as the store's bundle describes it; None where its picture cannot be read."""
    path, content = picture
    try:
        identifier = point_id(known_by(part, content), store.bundle)
        known = store.get(identifier)
        embedding = (
            inspector.inspect(decode_rgb(content), strict=True).embedding
            if known is None
            else known.embedding
        )
    except ImageError:
        return None
    if path != Path(part.path).resolve():
        share_frame(folder, path, identifier)
    return _moved(replace(part, embedding=embedding), identifier, store.bundle)


def _moved(part: PartPoint, identifier: str, bundle: str) -> PartPoint:
    """Into the records of another bundle."""
    judged_by = part.judged_by or part.bundle
    return replace(
        part,
        point_id=identifier,
        bundle=bundle,
        # Back at the bundle that has judged it, nobody else did.
        judged_by="" if judged_by == bundle else judged_by,
    )


@contextmanager
def slowly() -> Iterator[None]:
    """Work in this thread, and in those that it begins, behind the line's own."""
    if not hasattr(os, "setpriority"):
        yield
        return
    # On Linux a thread has a priority of its own, and those that it begins inherit it.
    thread = threading.get_native_id()
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, thread, _NICE)
    yield
