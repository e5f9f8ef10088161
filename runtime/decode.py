"""What comes in from outside, made a typed value: one decoder, one sentence where it does not fit.

A file's type is a dataclass (or :class:`msgspec.Struct`) whose annotations say what is allowed, with
``Annotated[float, msgspec.Meta(ge=0)]`` where the type alone does not. ``__post_init__`` may refuse with ``ValueError``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from runtime.errors import LinesideError

Value = TypeVar("Value")
_AT = re.compile(r" - at `\$?\.?(?P<where>[^`]*)`$")
_GOT = re.compile(r"^Expected (?P<expected>.+?), got (?P<found>.+)$")


def read_json(
    path: Path,
    kind: type[Value],
    *,
    error: type[LinesideError],
    advice: str,
    version: int | None = None,
) -> Value:
    """Read a JSON file, see :func:`decode_json`.

    Raises:
        error: also where the file is missing or cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as problem:
        raise error(f"{path}: expected readable JSON, found {problem}; {advice}") from problem
    return decode_json(content, kind, where=str(path), error=error, advice=advice, version=version)


def decode_json(
    content: bytes | str,
    kind: type[Value],
    *,
    where: str,
    error: type[LinesideError],
    advice: str,
    version: int | None = None,
) -> Value:
    """A typed value from JSON.

    Args:
        content: UTF-8.
        kind: the type.
        where: the file's name, for the message.
        error: what to raise.
        advice: what to type next.
        version: what the field ``schema_version`` must say; None where there is none.

    Raises:
        error: no JSON, another version, or a field that is missing, unknown or of the wrong type.
    """
    try:
        if version is not None:
            _check_version(content, version, where, error, advice)
        return msgspec.json.decode(content, type=kind)
    except msgspec.ValidationError as problem:
        raise error(f"{where}: {_sentence(problem)}; {advice}") from problem
    except (ValueError, RecursionError, OverflowError) as problem:
        raise error(f"{where}: expected JSON, found {problem}; {advice}") from problem


def convert(
    value: Any, kind: type[Value], *, where: str, error: type[LinesideError], advice: str
) -> Value:
    """A typed value from plain ones, as :func:`decode_json`; for TOML and for what another decoder has read."""
    try:
        return msgspec.convert(value, type=kind)
    except (ValueError, RecursionError, OverflowError) as problem:
        raise error(f"{where}: {_sentence(problem)}; {advice}") from problem


class _Version(msgspec.Struct):
    schema_version: Any = None


def _check_version(
    content: bytes | str, version: int, where: str, error: type[LinesideError], advice: str
) -> None:
    found = msgspec.json.decode(content, type=_Version).schema_version
    if type(found) is int and found == version:
        return
    newer = type(found) is int and found > version
    raise error(
        f"{where}: expected schema version {version}, found {found!r}; "
        + ("type: pip install --upgrade lineside" if newer else advice)
    )


def _sentence(problem: Exception) -> str:
    """msgspec's "Expected `int`, got `str` - at `$.input.height`" in our order: where, expected, found."""
    text = str(problem)
    at = _AT.search(text)
    said = (text if at is None else text[: at.start()]).replace("`", "")
    got = _GOT.match(said)
    if got is not None:
        said = f"expected {got['expected']}, found {got['found']}"
    elif said.startswith("Expected "):
        said = f"expected {said.removeprefix('Expected ')}, found something else"
    else:
        said = f"expected another value, found '{said}'"
    place = "" if at is None else at["where"]
    return f"{place}: {said}" if place else said
