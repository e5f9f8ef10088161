"""One part as one line of JSON, and back; nothing that comes in is believed.

{"id": "…", "bundle": "…", "category": "tile", "path": "…", …, "embedding": [0.1, …], "thumbnail":
"thumbnails/<id>.jpg"}
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from dataclasses import fields
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_app.store import PartPoint
from edge_app.store.schema import checked_point
from runtime.errors import DataError, StoreError

# Bytes of a line: a descriptor of 40,000 numbers.
MAX_LINE = 1 << 20
# Ours are smaller; this only keeps a wrong file out.
MAX_THUMBNAIL_BYTES = 256 << 10
_NUMBERS = ("raw_score", "normalized_score")
_REQUIRED = ("id", "embedding", "bundle", "category", "path", "verdict", *_NUMBERS)
_TEXTS = tuple(
    field.name
    for field in fields(PartPoint)
    if field.name not in ("point_id", "embedding", *_NUMBERS)
)
_KNOWN = frozenset({"id", "embedding", *_NUMBERS, *_TEXTS})


class LineError(DataError):
    """A line that is no part; says what was expected and what was found."""


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
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def parse_line(line: str, folder: Path | None = None) -> PartPoint:
    """Read a part.

    Args:
        line: JSON.
        folder: where the paths of thumbnails begin; None to leave the pictures unread.

    Raises:
        LineError: the line is no part, or its thumbnail cannot be used.
    """
    value = _json_object(line)
    texts = {name: _text(value, name) for name in _TEXTS}
    for name in ("bundle", "category"):
        if not texts[name]:
            raise LineError(f"expected a {name}, found an empty one")
    name = texts.pop("thumbnail")
    point = PartPoint(
        point_id=_text(value, "id"),
        embedding=_embedding(value["embedding"]),
        raw_score=_number(value, "raw_score"),
        normalized_score=_number(value, "normalized_score"),
        thumbnail=_thumbnail(folder, name) if name and folder is not None else "",
        **texts,
    )
    try:
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


def _json_object(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise LineError(
            f"expected a JSON object, found {str(error)[:80] or type(error).__name__}"
        ) from error
    if not isinstance(value, dict):
        raise LineError(f"expected a JSON object, found {type(value).__name__}")
    missing = [name for name in _REQUIRED if name not in value]
    if missing:
        raise LineError(
            f"expected the fields {', '.join(_REQUIRED)}, found none of {', '.join(missing)}"
        )
    unknown = sorted(set(value) - _KNOWN)
    if unknown:
        raise LineError(
            f"expected no other fields than {', '.join(sorted(_KNOWN))}, found {unknown[0][:40]!r}"
        )
    return value


def _text(value: dict[str, Any], name: str) -> str:
    found = value.get(name, "")
    if not isinstance(found, str):
        raise LineError(f"expected text as {name}, found {_shown(found)}")
    try:
        # JSON can spell halves of characters that no store takes.
        found.encode()
    except UnicodeEncodeError as error:
        raise LineError(f"expected Unicode as {name}, found a lone surrogate") from error
    return found


def _number(value: dict[str, Any], name: str) -> float:
    found = value[name]
    if isinstance(found, int | float) and not isinstance(found, bool):
        try:
            number = float(found)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    raise LineError(f"expected a finite number as {name}, found {_shown(found)}")


def _embedding(found: Any) -> npt.NDArray[np.float32]:
    if not isinstance(found, list) or not found:
        raise LineError(f"expected a list of numbers as embedding, found {_shown(found)}")
    numbers = [_number({"embedding": number}, "embedding") for number in found]
    with np.errstate(over="ignore"):
        return np.asarray(numbers, dtype=np.float64).astype(np.float32)


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
        raise LineError(f"expected the thumbnail {name[:80]!r}, found {_reason(error)}") from error
    if len(data) > MAX_THUMBNAIL_BYTES:
        raise LineError(
            f"expected a thumbnail of at most {MAX_THUMBNAIL_BYTES} bytes, found a larger one, "
            f"{name[:80]!r}"
        )
    return base64.b64encode(data).decode("ascii")


def _shown(found: Any) -> str:
    return type(found).__name__ if isinstance(found, list | dict) else repr(str(found)[:40])


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)[:80]
