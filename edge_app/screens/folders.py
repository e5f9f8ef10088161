"""Folders of the box by what the screens call them: those that it watches or shows."""

from __future__ import annotations

import os
import time
from functools import lru_cache
from pathlib import Path

from edge_app.api.service import Service

MOST_FOLDERS = 60
# A screen asks every second, and a year of pictures takes long to walk through.
_KEPT_S = 30.0


def top_folders(service: Service) -> dict[str, Path]:
    """Those that the box watches or shows, by their last name; of two alike the first."""
    found: dict[str, Path] = {}
    for folder in service.folders:
        if folder.is_dir():
            found.setdefault(folder.resolve().name, folder.resolve())
    return found


def folder_of(service: Service, name: str) -> Path | None:
    """A folder by its name here; None where it is not one of those, nor below one."""
    first, *below = Path(name).parts or ("",)
    root = top_folders(service).get(first)
    folder = None if root is None else root.joinpath(*below).resolve()
    inside = root is not None and folder is not None and folder.is_relative_to(root)
    return folder if inside else None


def folders_below(service: Service) -> list[str]:
    """Names of those and of the folders in them, as they were at most half a minute ago."""
    age = int(time.monotonic() // _KEPT_S)
    names = [one for top in top_folders(service).values() for one in _walked(top, age)]
    return names[:MOST_FOLDERS]


@lru_cache(maxsize=32)
def _walked(top: Path, _age: int) -> tuple[str, ...]:
    found: list[str] = []
    for folder, below, _ in os.walk(top):
        below[:] = sorted(one for one in below if not one.startswith("."))
        found.append(str(Path(top.name) / Path(folder).relative_to(top)))
        if len(found) == MOST_FOLDERS:
            break
    return tuple(found)
