"""One part as one line of JSON, and back; nothing that comes in is believed.

{"id": "…", "bundle": "…", "category": "tile", "path": "…", …, "embedding": [0.1, …],
"thumbnail": "thumbnails/<id>.jpg"}
"""

from __future__ import annotations

import base64
import binascii
import json
from pathlib import Path, PurePosixPath
from typing import Annotated

import msgspec
import numpy as np

from edge_app.store import PartPoint
from edge_app.store.schema import checked_id, checked_point
from runtime.decode import decode_json
from runtime.errors import DataError, StoreError

# Bytes of a line: a descriptor of 40,000 numbers.
MAX_LINE = 1 << 20
# Ours are smaller; this only keeps a wrong file out.
MAX_THUMBNAIL_BYTES = 256 << 10
Name = Annotated[str, msgspec.Meta(min_length=1)]


class LineError(DataError):
    """A line that is no part; says what was expected and what was found."""


class Line(msgspec.Struct, forbid_unknown_fields=True):
    """A part as it is written; fields as in :class:`edge_app.store.PartPoint`."""

    id: str
    embedding: Annotated[list[float], msgspec.Meta(min_length=1)]
    bundle: Name
    category: Name
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


def format_line(point: PartPoint, thumbnail: str) -> str:
    """Write a part.

    Args:
        point: with its descriptor; every float32 is written so that reading it gives the same one.
        thumbnail: relative path of its picture, or ``""``.

    Returns:
        JSON without a line break.
    """
    value = {"id": point.point_id, **point.payload(), "thumbnail": thumbnail}
    value["embedding"] = [float(str(number)) for number in point.embedding]
    # Lines as they have always been, where nobody and nothing was named.
    for name in ("confirmed_by", "confirmed_defect", "confirmed_note", "judged_by"):
        if not value[name]:
            del value[name]
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def parse_line(content: bytes | str, folder: Path | None = None) -> PartPoint:
    """Read a part.

    Args:
        content: JSON, UTF-8.
        folder: where the paths of thumbnails begin; None to leave the pictures unread.

    Raises:
        LineError: the line is no part, or its thumbnail cannot be used.
    """
    if len(content) > MAX_LINE:
        raise LineError(f"expected a line of at most {MAX_LINE} bytes, found a longer one")
    line = decode_json(content, Line, where="part", error=LineError, advice="mend the line")
    fields = msgspec.structs.asdict(line)
    name = fields.pop("thumbnail")
    with np.errstate(over="ignore"):
        embedding = np.asarray(fields.pop("embedding"), np.float64).astype(np.float32)
    try:
        point = PartPoint(
            # The same id in capitals is the same part.
            point_id=checked_id(fields.pop("id")),
            embedding=embedding,
            thumbnail=_thumbnail(folder, name) if name and folder is not None else "",
            **fields,
        )
        checked_point(point, point.bundle, point.embedding.size)
    except StoreError as error:
        raise LineError(str(error)) from error
    return point


def decoded_thumbnail(point: PartPoint) -> bytes | None:
    """The picture of a part; None if it has none that can be written out and read back the same."""
    try:
        data = base64.b64decode(point.thumbnail, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if data and base64.b64encode(data).decode("ascii") == point.thumbnail else None


def _thumbnail(folder: Path, name: str) -> str:
    relative = PurePosixPath(name)
    inside = (
        not relative.is_absolute()
        and ".." not in relative.parts
        and "\\" not in name
        and ":" not in name
    )
    if not inside or "\0" in name:
        raise LineError(f"expected a thumbnail below the file's folder, found {name[:80]!r}")
    path = folder / relative
    try:
        if not path.resolve(strict=True).is_relative_to(folder.resolve()):
            raise LineError(
                f"expected a thumbnail below the file's folder, found {name[:80]!r}, which leads "
                "out of it"
            )
        if not path.is_file():
            raise LineError(
                f"expected the thumbnail {name[:80]!r}, found something that is no file"
            )
        with path.open("rb") as file:
            data = file.read(MAX_THUMBNAIL_BYTES + 1)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(getattr(error, "strerror", None) or error)[:80]
        raise LineError(f"expected the thumbnail {name[:80]!r}, found {reason}") from error
    if len(data) > MAX_THUMBNAIL_BYTES:
        raise LineError(
            f"expected a thumbnail of at most {MAX_THUMBNAIL_BYTES} bytes, found a larger one, "
            f"{name[:80]!r}"
        )
    return base64.b64encode(data).decode("ascii")
