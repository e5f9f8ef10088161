"""Tables of a TOML file as typed values; what does not fit is named with its line."""

from __future__ import annotations

import difflib
import re
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from runtime.decode import convert
from runtime.errors import ConfigError, reading

Value = TypeVar("Value")
_HEADER = re.compile(r"\s*(\[{1,2})\s*([A-Za-z0-9_-]+)\s*\]{1,2}\s*(?:#.*)?$")


def explained(say: str, example: str) -> dict[str, str]:
    """Metadata of a table's field.

    Args:
        say: one sentence for people, for the comment in a new file.
        example: a line that may be typed.
    """
    return {"say": say, "example": example}


class TomlFile:
    """A TOML file with the lines of its keys.

    Args:
        path: the file.

    Raises:
        ConfigError: it cannot be read, or is no TOML.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        advice = f"to begin one, type: lineside station --init {path}"
        with reading(path, "a readable TOML file", ConfigError, advice):
            self._text = path.read_text(encoding="utf-8")
        try:
            self.raw = tomllib.loads(self._text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise ConfigError(
                f"{path}: expected TOML, found {error}; text stands in quotes, numbers do not"
            ) from error

    def refuse(self, found: str, table: str = "", number: int = 0, name: str = "") -> NoReturn:
        """Raise a ConfigError that names the line.

        Args:
            found: what was expected, what was found, what to type.
            table: the table, ``""`` for the keys before any.
            number: which one of several of that name, from 0.
            name: the key.
        """
        raise ConfigError(f"{self._where(table, number, name)}: {found}")

    def table(
        self, raw: Mapping[str, Any] | Any, kind: type[Value], table: str = "", number: int = 0
    ) -> Value:
        """A table as a dataclass whose fields are :func:`explained`; tables within it are left out.

        Raises:
            ConfigError: a key is missing, unknown or of another type.
        """
        if not isinstance(raw, Mapping):
            self.refuse(f"expected a table [{table}], found {raw!r:.40}", "", 0, table)
        known = {one.name: one for one in fields(kind)}  # type: ignore[arg-type]
        hints = typing.get_type_hints(kind, include_extras=True)
        for name in raw:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                advice = f"did you mean {near[0]}?" if near else "leave it out"
                self.refuse(
                    f"expected one of {', '.join(known)}, found {name}; {advice}",
                    table,
                    number,
                    name,
                )
        values = {}
        for name, one in known.items():
            if name in raw:
                values[name] = self._value(raw[name], hints[name], one, table, number)
            elif one.default is MISSING and one.default_factory is MISSING:
                self.refuse(f"expected the key {name}, found none; {_advice(one)}", table, number)
        return kind(**values)

    def _value(self, raw: Any, hint: Any, one: Field[Any], table: str, number: int) -> Any:
        where = self._where(table, number, one.name)
        return convert(raw, hint, where=where, error=ConfigError, advice=_advice(one))

    def _where(self, table: str, number: int, name: str) -> str:
        line = self._line(table, number, name)
        several = isinstance(self.raw.get(table), list)
        place = f"{table}[{number + 1}]" if several else table
        called = ".".join(part for part in (place, name) if part)
        at = f"{self.path}, line {line}" if line else f"{self.path}"
        return f"{at}: {called}" if called else at

    def _line(self, table: str, number: int, name: str) -> int | None:
        """The line of a key, that of its table where the key is not there, or None."""
        current, seen, header = "", -1, None
        for at, line in enumerate(self._text.splitlines(), 1):
            found = _HEADER.match(line)
            if found:
                current = found[2]
                seen += current == table
                if current == table and seen == number:
                    header = at
            here = current == table and (not table or seen == number)
            if name and here and re.match(rf"\s*[\"']?{re.escape(name)}[\"']?\s*=", line):
                return at
        return header


def _advice(one: Field[Any]) -> str:
    return f"type for example: {one.metadata['example']}"
