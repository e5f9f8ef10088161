"""What the history hands out: the chosen parts as a table, or as a folder to train from."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from edge_app.access.door import Who
from edge_app.api.answers import file_name
from edge_app.api.problems import Problem
from edge_app.api.service import Service, service_of
from edge_app.line import Line
from edge_app.screens.choosing import Choice, Chosen
from edge_app.screens.looking import original_of
from edge_app.store import PartPoint
from edge_app.store.words import truth

router = APIRouter()
COLUMNS = (
    "id",
    "time",
    "bundle",
    "category",
    "camera",
    "name",
    "verdict",
    "raw_score",
    "normalized_score",
    "truth",
    "word",
    "word_defect_type",
    "word_by",
    "word_at",
    "word_note",
)
# One good part of so many is for the test; by its id, so that another export puts it there, too.
TEST_SHARE = 5
# A spreadsheet takes what begins so for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def _answers(kind: str) -> dict[int | str, dict[str, Any]]:
    file = {"schema": {"type": "string", "format": "binary"}}
    return {200: {"content": {kind: file}}, **{s: {"model": Problem} for s in (401, 503)}}


@router.get("/export/parts.csv", response_class=StreamingResponse, responses=_answers("text/csv"))
def as_csv(request: Request, who: Who, chosen: Chosen) -> StreamingResponse:
    """The chosen parts as a table, newest first."""
    service = service_of(request)
    service.chosen(chosen.bundle)
    return _file(_table(chosen.all(service)), "text/csv", "parts.csv")


@router.get(
    "/export/parts.zip", response_class=StreamingResponse, responses=_answers("application/zip")
)
def as_zip(request: Request, who: Who, chosen: Chosen) -> StreamingResponse:
    """The chosen parts in MVTec AD's layout, each where it belongs by what it turned out to be.

    In it are the parts whose picture is still where it was; ``left_out.csv`` names the others.
    """
    service = service_of(request)
    service.chosen(chosen.bundle)
    return _file(_archive(service, chosen), "application/zip", "parts.zip")


def place_in_tree(point: PartPoint, name: str) -> str | None:
    """Where a part belongs in MVTec AD's layout; None where nobody knows what it is.

    Args:
        point: the part.
        name: of its picture.
    """
    kind = truth(point.verdict, point.defect_type, point.confirmed, point.confirmed_defect)
    if kind == "cannot_judge":
        return None
    folder = f"test/{_plain(kind)}"
    if kind == "good" and int(point.point_id[:8], 16) % TEST_SHARE:
        folder = "train/good"
    # Pictures of several cameras may have the same name.
    path = PurePosixPath(name)
    return (
        f"{_plain(point.category)}/{folder}/{_plain(path.stem)}-{point.point_id[:8]}{path.suffix}"
    )


def _plain(text: str) -> str:
    """Letters that every disk takes, and no way out of the folder."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", text).strip("_") or "part"


def _table(found: Iterable[tuple[PartPoint, Line]]) -> Iterator[bytes]:
    yield _row(COLUMNS)
    for point, line in found:
        yield _row(_fields(point, line))


def _fields(point: PartPoint, line: Line) -> list[str]:
    return [
        point.point_id,
        point.time,
        line.name,
        point.category,
        point.camera,
        file_name(point.path),
        point.verdict,
        f"{point.raw_score:.6g}",
        f"{point.normalized_score:.6g}",
        truth(point.verdict, point.defect_type, point.confirmed, point.confirmed_defect),
        point.confirmed,
        point.confirmed_defect,
        point.confirmed_by,
        point.confirmed_at,
        point.confirmed_note,
    ]


def _row(values: Iterable[str]) -> bytes:
    text = io.StringIO()
    safe = [
        f"'{one}" if one.startswith(_FORMULA) and not _is_number(one) else one for one in values
    ]
    csv.writer(text).writerow(safe)
    return text.getvalue().encode()


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?[0-9.]+(e[+-]?[0-9]+)?", text) is not None


class _Sink(io.RawIOBase):
    """What a ZIP is written to: its bytes are taken off as they come."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def taken(self) -> bytes:
        found, self._parts = b"".join(self._parts), []
        return found


def _archive(service: Service, chosen: Choice) -> Iterator[bytes]:
    """A ZIP, picture by picture: it may be larger than the memory."""
    sink, left_out, kept = _Sink(), [_row((*COLUMNS, "why"))], [_row(COLUMNS)]
    with zipfile.ZipFile(sink, "w") as archive:
        for point, line in chosen.all(service):
            found = original_of(service, point)
            place = found and place_in_tree(point, found[0])
            if found is None or place is None:
                why = "its picture is gone" if found is None else "nobody knows what it is"
                left_out.append(_row((*_fields(point, line), why)))
                continue
            # Pictures are compressed already.
            archive.writestr(place, found[1])
            kept.append(_row(_fields(point, line)))
            yield sink.taken()
        archive.writestr("parts.csv", b"".join(kept))
        archive.writestr("left_out.csv", b"".join(left_out))
    yield sink.taken()


def _file(content: Iterator[bytes], kind: str, name: str) -> StreamingResponse:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(content, media_type=kind, headers=headers)
