"""The configuration of ``lineside station``: what it watches, judges with, and shows."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edge_app.live.settings import EngineTable, OutputTable, Page, PicturesTable, Source, Top
from edge_app.live.toml_tables import TomlFile
from edge_app.outputs.base import FOLDERS, schemes
from edge_app.store.location import is_server

_TABLES = ("page", "engine", "sources", "outputs", "pictures")


@dataclass(frozen=True)
class Config:
    """All of it; paths are absolute.

    Attributes:
        bundles: paths.
        store: folder of the records.
        samples: folder of pictures to click on, or None.
        page: see :class:`Page`.
        engine: options of :class:`runtime.inspector.Inspector`.
        sources: at least one; each names its bundle.
        outputs: who is told of every verdict.
        pictures: which frames are kept.
    """

    bundles: tuple[Path, ...]
    store: Path
    samples: Path | None
    page: Page
    engine: dict[str, Any]
    sources: tuple[Source, ...]
    outputs: tuple[OutputTable, ...] = ()
    pictures: PicturesTable = field(default_factory=PicturesTable)


def read_config(path: Path) -> Config:
    """Read and check a configuration; relative paths are those below its folder.

    Raises:
        ConfigError: it says with its line what was expected, what was found, and what to type.
    """
    file, folder = TomlFile(path), path.absolute().parent
    top = file.table({k: v for k, v in file.raw.items() if k not in _TABLES}, Top)
    if is_server(top.store) or "://" in top.store or top.store == "memory:":
        file.refuse(
            f"expected a folder, for the station keeps its records itself, found {top.store}; "
            'type: store = "neighbours", and bring them to a server with lineside sync',
            name="store",
        )
    names = [bundle_name(one) for one in top.bundles]
    if len(set(names)) < len(names):
        file.refuse(
            f"expected bundles of different names, found {', '.join(names)}; rename a folder",
            name="bundles",
        )
    tables = file.raw.get("sources", [])
    if not isinstance(tables, list) or not tables:
        file.refuse(
            "expected at least one source, found none; add [[sources]] with its name and "
            'what to watch, e.g. watch = "incoming"'
        )
    sources = [file.table(raw, Source, "sources", at) for at, raw in enumerate(tables)]
    for at, source in enumerate(sources):
        if source.name in [one.name for one in sources[:at]]:
            file.refuse(
                f"expected another name, found {source.name!r} again; name each once",
                "sources",
                at,
                "name",
            )
        if not source.watch:
            file.refuse(
                'expected what to watch, found nothing; type for example: watch = "0"',
                "sources",
                at,
                "watch",
            )
        if source.bundle not in names and (source.bundle or len(names) > 1):
            file.refuse(
                f"expected one of {', '.join(names)}, found "
                f'{source.bundle or "none"}; type: bundle = "{names[0]}"',
                "sources",
                at,
                "bundle",
            )
    page = file.table(file.raw.get("page", {}), Page, "page")
    if page.api_token_file:
        page = replace(page, api_token_file=str(_below(folder, page.api_token_file)))
    if page.users_file:
        page = replace(page, users_file=str(_below(folder, page.users_file)))
    engine = file.table(file.raw.get("engine", {}), EngineTable, "engine")
    return Config(
        bundles=tuple(_below(folder, one) for one in top.bundles),
        store=_below(folder, top.store),
        samples=_below(folder, top.samples) if top.samples else None,
        page=page,
        engine={
            **vars(engine),
            "signed_by": _below(folder, engine.signed_by) if engine.signed_by else None,
        },
        sources=tuple(
            replace(one, watch=_place(one.watch, folder), bundle=one.bundle or names[0])
            for one in sources
        ),
        outputs=_outputs(file),
        pictures=file.table(file.raw.get("pictures", {}), PicturesTable, "pictures"),
    )


def _outputs(file: TomlFile) -> tuple[OutputTable, ...]:
    tables = file.raw.get("outputs", [])
    if not isinstance(tables, list):
        file.refuse("expected tables [[outputs]], found another; double the brackets", "outputs")
    found = [file.table(raw, OutputTable, "outputs", at) for at, raw in enumerate(tables)]
    for at, one in enumerate(found):
        place = ("outputs", at)
        if one.name in [other.name for other in found[:at]]:
            file.refuse(f"expected another name, found {one.name!r} again", *place, "name")
        if _scheme(one.url) not in schemes():
            told = f"expected an address of {', '.join(schemes())}, found {one.url!r}"
            file.refuse(
                f'{told}; type for example: url = "http://mes:8080/verdicts"', *place, "url"
            )
        if "@" in one.url and ":" in one.url.partition("://")[2].partition("@")[0]:
            file.refuse(
                "expected no password in an address, found one; put it into an environment "
                'variable: secret_variable = "MES_PASSWORD"',
                *place,
                "url",
            )
        if set(one.topic) & set("#+") or not one.topic:
            file.refuse("expected a topic without # and +, found another", *place, "topic")
    return tuple(found)


def _scheme(url: str) -> str:
    try:
        parts = urlsplit(url)
        has_place = bool(parts.hostname) and parts.port != 0
        if parts.scheme in FOLDERS:
            has_place = parts.path.startswith("/") and len(parts.path) > 1 and not parts.netloc
    except ValueError:
        return ""
    return parts.scheme if has_place else ""


def _below(folder: Path, path: str) -> Path:
    # Without "..", so that a file is called the same from wherever it is named.
    return Path(os.path.normpath(folder / path))


def bundle_name(path: str) -> str:
    """What a bundle is called that lies at a path."""
    return Path(path).name.removesuffix(".lineside")


def _place(watch: str, folder: Path) -> str:
    """A camera's number or a URL as it is, a path below the configuration's folder."""
    return watch if watch.isdigit() or "://" in watch else str(_below(folder, watch))
