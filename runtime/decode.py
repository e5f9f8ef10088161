"""What comes in from outside, made a typed value: one decoder, one sentence where it does not fit.

A file's type is a dataclass (or :class:`msgspec.Struct`) whose annotations say what is allowed,
with ``Annotated[float, msgspec.Meta(ge=0)]`` where the type alone does not. ``__post_init__`` may
refuse with ``ValueError``. An array of numbers is ``runtime.types.Floats``.
"""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import numpy as np

from runtime.bundle.sealing import SEAL, Seal, seal_problem
from runtime.errors import LinesideError, reading
from runtime.types import Floats

Value = TypeVar("Value")
# Beyond this no score, limit or count means anything: such a file was damaged or mistyped.
PLAUSIBLE = 10**12
Number = Annotated[float, msgspec.Meta(ge=-PLAUSIBLE, le=PLAUSIBLE)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=0, le=PLAUSIBLE)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=PLAUSIBLE)]

_AT = re.compile(r" - at `(?:key` in `)?\$?\.?(?P<where>[^`]*)`$")
_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
}


def read_json(
    path: Path,
    kind: type[Value],
    *,
    error: type[LinesideError],
    advice: str,
    version: int | None = None,
    known_only: bool = False,
    complete: bool = False,
    sealed: tuple[Seal, str] | None = None,
) -> Value:
    """Read a JSON file, see :func:`decode_json`.

    Raises:
        error: also where the file is missing or cannot be read.
    """
    with reading(path, "readable JSON", error, advice):
        content = path.read_bytes()
    return decode_json(
        content,
        kind,
        where=str(path),
        error=error,
        advice=advice,
        version=version,
        known_only=known_only,
        complete=complete,
        sealed=sealed,
    )


def decode_json(
    content: bytes | str,
    kind: type[Value],
    *,
    where: str,
    error: type[LinesideError],
    advice: str,
    version: int | None = None,
    known_only: bool = False,
    complete: bool = False,
    sealed: tuple[Seal, str] | None = None,
) -> Value:
    """A typed value from JSON.

    Args:
        content: UTF-8.
        kind: the type.
        where: the file's name, for the message.
        error: what to raise.
        advice: what to type next.
        version: what the field ``schema_version`` must say; None where there is none.
        known_only: refuse fields that the type does not have.
        complete: refuse a file that lacks fields, even those that have a default.
        sealed: of a file with a seal, what is asked of it, and what to type where it is not right.

    Raises:
        error: no JSON, another version, or a field that is missing, unknown or of the wrong type.
    """
    with reading(where, "readable JSON", error, advice):
        raw = msgspec.json.decode(content)
        unsealed = seal_problem(raw, sealed[0]) if sealed and isinstance(raw, dict) else ""
    if version is not None:
        found = raw.pop("schema_version", None) if isinstance(raw, dict) else raw
        if type(found) is not int or found != version:
            newer = type(found) is int and isinstance(raw, dict) and found > version
            todo = "type: pip install --upgrade lineside" if newer else advice
            raise error(f"{where}: expected schema version {version}, found {found!r:.40}; {todo}")
    if sealed and isinstance(raw, dict):
        raw.pop(SEAL, None)
    value = convert(raw, kind, where=where, error=error, advice=advice)
    try:
        _compare(raw, value, "", known_only, complete)
    except ValueError as problem:
        raise error(f"{where}: {problem}; {advice}") from problem
    # Last, for what makes no sense at all says more than that it was edited.
    if unsealed and sealed:
        raise error(f"{where}: {unsealed}; {sealed[1]}")
    return value


def convert(
    value: Any, kind: type[Value], *, where: str, error: type[LinesideError], advice: str
) -> Value:
    """A typed value from plain ones; for TOML and for what another decoder has read.

    Raises:
        error: see :func:`decode_json`.
    """
    try:
        return msgspec.convert(value, type=kind, dec_hook=_array)
    except Exception as problem:
        raise error(f"{where}: {_sentence(problem)}; {advice}") from problem


def _array(kind: Any, value: Any) -> Floats:
    """float64 (n,), n from 1 on: what no annotation of msgspec's own says."""
    try:
        numbers = msgspec.convert(value, Annotated[list[Number], msgspec.Meta(min_length=1)])
    except msgspec.ValidationError as problem:
        # As msgspec's own it would hide where the array is.
        raise ValueError(_sentence(problem)) from problem
    return np.array(numbers, dtype=np.float64)


def _compare(raw: Any, value: Any, where: str, known_only: bool, complete: bool) -> None:
    """Refuse what msgspec passes over: fields that the type lacks, or that the file lacks."""
    if isinstance(value, list | tuple) and isinstance(raw, list):
        inner = [(f"{where}[{at}]", *pair) for at, pair in enumerate(zip(raw, value, strict=False))]
    elif isinstance(value, dict):
        inner = [(f"{where}.{name}", raw[name], one) for name, one in value.items()]
    elif is_dataclass(value):
        names = [field.name for field in fields(value) if field.name != "schema_version"]
        place = f"{where[1:]}: " if where else ""
        unknown, missing = sorted(raw.keys() - set(names)), set(names) - raw.keys()
        if known_only and unknown:
            raise ValueError(
                f"{place}expected {', '.join(names)} alone, found also {', '.join(unknown)}"
            )
        if complete and missing:
            raise ValueError(f"{place}expected the field '{min(missing)}', found none")
        known = [name for name in names if name in raw]
        inner = [(f"{where}.{name}", raw[name], getattr(value, name)) for name in known]
    else:
        return
    for place, one, other in inner:
        _compare(one, other, place, known_only, complete)


def _sentence(problem: Exception) -> str:
    """Where, expected, found: from msgspec's "Expected `int`, got `str` - at `$.input.height`"."""
    # The name of a field may hold a line break.
    text = re.sub(r"[\x00-\x1f\x7f-\x9f]", "\ufffd", str(problem))
    at = _AT.search(text)
    said = text if at is None else text[: at.start()]
    said = said.replace(", got ", ", found ")
    said = re.sub(r"^Invalid enum value (.*)$", r"expected a known value, found \1", said)
    for pattern, ours in (
        (r"^Object missing required field `(.*)`$", r"expected the field '\1', found none"),
        (r"^Object contains unknown field `(.*)`$", r"expected no field '\1', found one"),
    ):
        said = re.sub(pattern, ours, said)
    said = re.sub(r"`([^`]*)`", lambda found: _in_words(found[1]), said)
    said = re.sub(r"^Expected", "expected", said).replace(f"{PLAUSIBLE:.1f}", f"{PLAUSIBLE:g}")
    place = "" if at is None else at["where"].replace("[...]", "[one of its entries]")
    return f"{place}: {said}" if place else said


def _in_words(types: str) -> str:
    return " or ".join(_WORDS.get(one, one) for one in types.split(" | "))
