"""Recorded parts for whoever learns from them: the reader behind ``lineside.records``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from edge_app.live.keeping import frame_of, own_file
from edge_app.records.database import RECORDS_FILE, Database
from edge_app.records.parts import PartRecords, bundles
from edge_app.store.schema import PartPoint, Place, SearchFilter
from edge_app.store.words import truth
from runtime.errors import StoreError
from runtime.sources.recorded import RecordedPart

_PAGE = 500
# A larger file is no picture of a part.


def read_parts(location: str, fingerprints: Sequence[str]) -> Iterator[RecordedPart]:
    """The judged parts of bundles, of each the newest first.

    Args:
        location: folder of the records.
        fingerprints: of the bundles; of one of them at least there are parts.

    Raises:
        StoreError: no such folder, or it has no parts of any of them.
    """
    folder = Path(location)
    if "://" in location or not (folder / RECORDS_FILE).is_file():
        found = "a server" if "://" in location else "none there"
        raise StoreError(
            f"{location}: expected a folder with the records of a box, found {found}; give the "
            "store of lineside station or lineside app, or bring one here with: lineside sync"
        )
    database = Database(folder)
    try:
        lengths = dict(bundles(database))
        for name in [one for one in fingerprints if one in lengths] or fingerprints[:1]:
            records = PartRecords(database, name, lengths.get(name, 0), create=False)
            before: Place | None = None
            while page := records.recent(SearchFilter(), before, _PAGE):
                before = (page[-1].time, page[-1].point_id)
                yield from (_recorded(folder, one) for one in page if one.verdict != "cannot_judge")
    finally:
        database.close()


def picture_of(folder: Path, point: PartPoint) -> Path | None:
    """The file that shows a part still: its own, or the frame that was kept of it.

    Args:
        folder: of the records.
        point: the part.
    """
    found = frame_of(folder, point) or own_file(point)
    return None if found is None else found[0]


def _recorded(folder: Path, point: PartPoint) -> RecordedPart:
    return RecordedPart(
        point.point_id,
        point.judged_by or point.bundle,
        Path(point.path).name or point.point_id,
        point.verdict,
        point.raw_score,
        point.confirmed,
        truth(point.verdict, point.defect_type, point.confirmed, point.confirmed_defect),
        partial(picture_of, folder, point),
    )
