"""The first configuration of a station, with every key explained."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import msgspec

from edge_app.live.config import bundle_name
from edge_app.live.settings import EngineTable, OutputTable, Page, PicturesTable, Source, Top
from runtime import atomic
from runtime.errors import ConfigError


def write_first(path: Path, bundles: Sequence[Path] = ()) -> Path:
    """Begin a configuration with every key explained, for what ``make demo`` has made.

    Args:
        path: the file; one that is there stays.
        bundles: to name in it; the demo's if empty.

    Returns:
        the folder to put pictures into, which is made.

    Raises:
        ConfigError: the file is there already.
    """
    if path.exists():
        raise ConfigError(
            f"{path}: expected no file, found one; choose another name, or edit it as it is"
        )
    folder = path.absolute().parent
    incoming = Path("demo/incoming").absolute()
    found = sorted(bundles) or sorted(Path("demo/bundles").glob("*-patchcore"))[:1]
    chosen = [_from(one, folder) for one in found] or [_from("demo/bundles/tile-patchcore", folder)]
    given = {
        "bundles": chosen,
        "store": _from("demo/neighbours", folder),
        "name": "line",
        "watch": _from(incoming, folder),
        "bundle": bundle_name(chosen[0]),
    }
    if Path("demo/parts").is_dir():
        given["samples"] = _from("demo/parts", folder)
    lines = [
        f"# A station of Lineside. Start it: lineside station {path.name}",
        "# Relative paths are those below this file's folder. What is commented out may stay so.",
        "",
        *_explained(Top, given),
        "# Each source has a table; add as many as there are cameras.",
        "[[sources]]",
        *_explained(Source, given),
        "[page]",
        *_explained(Page, {}),
        "[engine]",
        *_explained(EngineTable, {"isolate": True}),
        "# Frames of cameras, streams and videos; the files of a folder stay where they are.",
        "[pictures]",
        *_explained(PicturesTable, {}),
        "# Who is told of every verdict: add a table for each.",
        "# [[outputs]]",
        *_explained(OutputTable, {}),
    ]
    folder.mkdir(parents=True, exist_ok=True)
    incoming.mkdir(parents=True, exist_ok=True)
    atomic.write_bytes(path, "\n".join(lines).encode())
    return incoming


def _explained(kind: Any, given: dict[str, Any]) -> list[str]:
    """Lines of a table: what a key means, and the key, commented out where nothing is given."""
    lines = []
    for one in fields(kind):
        lines.append(f"# {one.metadata['say']}")
        if one.name in given:
            lines.append(f"{one.name} = {msgspec.json.encode(given[one.name]).decode()}")
        else:
            lines.append(f"# {one.metadata['example']}")
    return [*lines, ""]


def _from(path: Path | str, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()
