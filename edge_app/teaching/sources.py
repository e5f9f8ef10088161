"""Where pictures to teach come from: recorded parts, and folders of the box."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edge_app.api.answers import file_name
from edge_app.api.problems import ProblemError
from edge_app.api.service import Service
from edge_app.line import Line
from edge_app.screens.looking import original_of
from edge_app.store import PartPoint, SearchFilter
from edge_app.store.words import truth
from edge_app.teaching.teacher import TriedPart
from runtime.errors import LinesideError
from runtime.images.dataset import list_images

TRIED = 100


def content_of(service: Service, point: PartPoint) -> bytes | None:
    """A part's picture: as it was judged, or as the screen shows it still."""
    found = original_of(service, point)
    if found is not None:
        return found[1]
    look = service.looks.get(point.point_id)
    return None if look is None else look.jpeg


def newest_parts(service: Service, line: Line, *, good_alone: bool) -> list[PartPoint]:
    """Recorded parts that nobody has called defective, newest first; of a blank bundle all."""
    if line.is_blank:
        return _unjudged(service, line, 2000)
    found: list[PartPoint] = []
    for one in line.recent(SearchFilter(), None, 2000):
        what = truth(one.verdict, one.defect_type, one.confirmed, one.confirmed_defect)
        if what == "good" or (not good_alone and not one.confirmed):
            found.append(one)
    return found


def tried_parts(service: Service, line: Line) -> Iterator[TriedPart]:
    """The newest recorded parts, for a version to be tried on."""
    recorded = _unjudged(service, line, TRIED) if line.is_blank else []
    for point in recorded or line.recent(SearchFilter(), None, TRIED):
        content = content_of(service, point)
        yield TriedPart(point.point_id, file_name(point.path), point.verdict, content)


def _unjudged(service: Service, line: Line, most: int) -> list[PartPoint]:
    """What came while nothing was learned has no record, but is in the journal, newest first."""
    arrivals = [] if service.board is None else service.board.journal.newest(most)
    found = {
        one.id: PartPoint(
            point_id=one.id,
            embedding=np.empty(0, np.float32),
            bundle=one.bundle,
            category="",
            path=one.name,
            verdict=one.verdict,
            raw_score=0.0,
            normalized_score=0.0,
            time=one.time,
            camera=one.source,
        )
        for one in reversed(arrivals)
        if one.id and one.bundle == line.store.bundle
    }
    return list(found.values())[::-1]


def pictures_of_folder(folder: Path, count: int) -> list[tuple[str, bytes]]:
    """Pictures of a folder, spread evenly where they are more."""
    try:
        paths = [path for path in list_images(folder) if path.parent == folder] or list_images(
            folder
        )
        step = max(1, -(-len(paths) // count))
        return [(path.name, path.read_bytes()) for path in paths[::step][:count]]
    except (LinesideError, OSError) as error:
        raise ProblemError(422, f"folder: {error}") from error
