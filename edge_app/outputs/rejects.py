"""A folder of pictures: each part that is delivered, under its heat map beside it, day by day."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from edge_app.live.keeping import make_room
from edge_app.outputs.base import Address
from edge_app.outputs.shifts import folder_of
from runtime import atomic
from runtime.errors import OutputError, sentence

MOST_MIB = 2000
_LONGEST = 80


class Rejects:
    """Writes ``DAY/TIME-SOURCE-NAME-NUMBER`` with the picture, ``_map.png`` and ``.json``.

    Args:
        address: ``folder:///rejects?most_mib=2000``; its ``show`` gives the pictures.

    Raises:
        OutputError: the folder cannot be written.
    """

    def __init__(self, address: Address) -> None:
        self._folder = folder_of(address.url)
        given = parse_qs(urlsplit(address.url).query).get("most_mib", [str(MOST_MIB)])[0]
        if not given.isdigit() or not int(given):
            raise OutputError(f"most_mib: expected a number of MiB, found {given}; mend it")
        self._most = int(given) << 20
        self._show = address.show
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._size = sum(size for _, size, _ in self._files())
        except OSError as error:
            raise OutputError(f"expected a folder to write, found {sentence(error)}") from error

    def send(self, message: dict[str, Any]) -> None:
        """See :class:`edge_app.outputs.base.Sender`; the text comes last, and says it is whole."""
        time = datetime.fromisoformat(str(message["time"])).astimezone()
        name = Path(str(message["name"]).replace("#", "-"))
        stem = f"{time:%H%M%S}-{message['source']}-{name.stem}"
        plain = re.sub(r"[^A-Za-z0-9_-]+", "_", stem)[:_LONGEST]
        base = self._folder / f"{time:%Y-%m-%d}" / f"{plain}-{message['number']}"
        shown = self._show(str(message["id"])) if message["id"] else None
        files = {".json": json.dumps(message, indent=1).encode()}
        if shown is not None:
            picture, suffix, overlay = shown
            files = {suffix: picture, **({"_map.png": overlay} if overlay else {}), **files}
        try:
            base.parent.mkdir(parents=True, exist_ok=True)
            for ending, content in files.items():
                atomic.write_bytes(base.with_name(base.name + ending), content)
                self._size += len(content)
            if self._size > self._most:
                self._size = make_room(self._folder, self._files(), self._most)
        except OSError as error:
            raise OutputError(f"expected to write {base}, found {sentence(error)}") from error

    def close(self) -> None:
        """Nothing is held open."""

    def _files(self) -> list[tuple[str, int, Path]]:
        """Day and name, size and path of every file of ours."""
        return [
            (f"{path.parent.name}/{path.name}", path.stat().st_size, path)
            for path in self._folder.glob("????-??-??/*")
        ]
