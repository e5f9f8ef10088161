"""A CSV file for each shift, in a folder: verdicts as they come, for a spreadsheet."""

from __future__ import annotations

import csv
import io
import os
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from edge_app.outputs.base import Address
from runtime.errors import OutputError, sentence

COLUMNS = (
    "number",
    "time",
    "source",
    "name",
    "verdict",
    "raw_score",
    "normalized_score",
    "threshold",
    "reason",
    "id",
)
SHIFTS = "06:00,14:00,22:00"
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
# A spreadsheet takes what begins so for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_TAIL_BYTES = 4096


class Shifts:
    """Appends a line for each verdict to the file of its shift, named by when that began.

    Args:
        address: ``csv:///folder?shifts=06:00,14:00,22:00``, by the box's clock.

    Raises:
        OutputError: the folder cannot be written, or a shift is no time.
    """

    def __init__(self, address: Address) -> None:
        parts = urlsplit(address.url)
        self._folder = folder_of(address.url)
        given = parse_qs(parts.query).get("shifts", [SHIFTS])[0]
        found = [_CLOCK.fullmatch(one) for one in given.split(",")]
        if not all(found):
            raise OutputError(f"shifts: expected times such as {SHIFTS}, found {given}; mend it")
        self._begins = sorted((int(one[1]), int(one[2])) for one in found if one)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"expected a folder to write, found {sentence(error)}") from error

    def send(self, message: dict[str, Any]) -> None:
        """See :class:`edge_app.outputs.base.Sender`."""
        began = self.began(datetime.fromisoformat(str(message["time"])).astimezone())
        path = self._folder / f"{began:%Y-%m-%d-%H%M}.csv"
        values = [_safe(message[name]) for name in COLUMNS]
        try:
            with path.open("ab+") as file:
                end = _whole_lines(file)
                if end and _last_number(file, end) >= int(message["number"]):
                    return
                file.write((b"" if end else _row(COLUMNS)) + _row(values))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(f"expected to write {path}, found {sentence(error)}") from error

    def began(self, time: datetime) -> datetime:
        """When the shift of a local time began."""
        day = time.replace(hour=0, minute=0, second=0, microsecond=0)
        begins = [day.replace(hour=hour, minute=minute) for hour, minute in self._begins]
        return max((one for one in begins if one <= time), default=begins[-1] - timedelta(days=1))

    def close(self) -> None:
        """Nothing is held open."""


def folder_of(url: str) -> Path:
    """The folder that an address such as ``csv:///var/verdicts`` names."""
    return Path(unquote(urlsplit(url).path))


def _whole_lines(file: Any) -> int:
    """Where the last whole line ends; what a power cut has left behind it is cut off."""
    size = file.seek(0, os.SEEK_END)
    begin = max(0, size - _TAIL_BYTES)
    file.seek(begin)
    tail = file.read()
    end = int(begin + tail.rfind(b"\n") + 1)
    if end < size:
        file.truncate(end)
    return end


def _last_number(file: Any, end: int) -> int:
    """The number of the last verdict, 0 where there is only the head."""
    begin = max(0, end - _TAIL_BYTES)
    file.seek(begin)
    last = file.read(end - begin).splitlines()[-1].split(b",")[0]
    return int(last) if last.isdigit() else 0


def _safe(value: Any) -> str:
    text = "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text


def _row(values: Any) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(
        str(one).replace("\r", " ").replace("\n", " ") for one in values
    )
    return text.getvalue().encode()
