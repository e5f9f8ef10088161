"""The configuration of ``lineside station``: what it watches, judges with, and shows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from edge_app.live.tables import TomlFile, explained
from edge_app.store.location import is_server
from runtime import atomic
from runtime.errors import ConfigError

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=40)]
_TABLES = ("page", "engine", "sources")


@dataclass(frozen=True)
class Top:
    """The keys before any table."""

    bundles: Annotated[list[str], msgspec.Meta(min_length=1)] = field(
        metadata=explained("Bundles that judge.", 'bundles = ["tile-patchcore"]')
    )
    store: str = field(
        default="neighbours",
        metadata=explained(
            "Folder of the records and of the index over them.", 'store = "neighbours"'
        ),
    )
    samples: str = field(
        default="",
        metadata=explained("Folder of pictures to click on, on the page.", 'samples = "parts"'),
    )


@dataclass(frozen=True)
class Page:
    """Who sees the screens and the API, and where."""

    host: str = field(
        default="127.0.0.1",
        metadata=explained(
            "Address to listen on; 0.0.0.0 for the network, with a password in LINESIDE_PASSWORD.",
            'host = "127.0.0.1"',
        ),
    )
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = field(
        default=7860, metadata=explained("0 for any free port.", "port = 7860")
    )
    root_path: str = field(
        default="",
        metadata=explained("Path below which a proxy shows it all.", 'root_path = "/line3"'),
    )
    no_password: bool = field(
        default=False,
        metadata=explained("Serve a network without asking for a password.", "no_password = true"),
    )
    api_token_file: str = field(
        default="",
        metadata=explained(
            "Programs need a token of this file, see lineside token.",
            'api_token_file = "api-tokens.json"',
        ),
    )
    trusted_proxies: list[str] = field(
        default_factory=list,
        metadata=explained(
            "Proxies whose X-Forwarded-For is believed.", 'trusted_proxies = ["10.0.0.5"]'
        ),
    )


@dataclass(frozen=True)
class EngineTable:
    """What the bundles run on."""

    engine: Literal["openvino", "onnxruntime"] = field(
        default="openvino", metadata=explained("openvino or onnxruntime.", 'engine = "openvino"')
    )
    precision: str = field(
        default="fp32",
        metadata=explained("Precision variant of the bundles.", 'precision = "fp32"'),
    )
    device: str = field(
        default="CPU", metadata=explained("CPU, GPU, NPU or AUTO.", 'device = "CPU"')
    )
    threads: Annotated[int, msgspec.Meta(ge=1, le=1024)] | None = field(
        default=None,
        metadata=explained(
            "CPU threads; the engine's own choice where it is left out.", "threads = 2"
        ),
    )
    deadline_s: Annotated[float, msgspec.Meta(gt=0, le=3600)] = field(
        default=10.0,
        metadata=explained("An inference that takes longer is given up.", "deadline_s = 10.0"),
    )


@dataclass(frozen=True)
class Source:
    """Where parts come from."""

    name: Name = field(
        metadata=explained("Name on the screen and in the records.", 'name = "press 3"')
    )
    watch: str = field(
        metadata=explained(
            "A folder that fills up, a video, the number of a camera, or an RTSP or HTTP URL.",
            'watch = "incoming"',
        )
    )
    bundle: str = field(
        default="",
        metadata=explained(
            "Which bundle judges; may be left out where there is one.", 'bundle = "tile-patchcore"'
        ),
    )


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
    """

    bundles: tuple[Path, ...]
    store: Path
    samples: Path | None
    page: Page
    engine: dict[str, Any]
    sources: tuple[Source, ...]


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
    names = [_bundle_name(one) for one in top.bundles]
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
    engine = file.table(file.raw.get("engine", {}), EngineTable, "engine")
    return Config(
        bundles=tuple(_below(folder, one) for one in top.bundles),
        store=_below(folder, top.store),
        samples=_below(folder, top.samples) if top.samples else None,
        page=page,
        engine=vars(engine),
        sources=tuple(
            replace(one, watch=_place(one.watch, folder), bundle=one.bundle or names[0])
            for one in sources
        ),
    )


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
        "bundle": _bundle_name(chosen[0]),
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
        *_explained(EngineTable, {}),
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


def _below(folder: Path, path: str) -> Path:
    # Without "..", so that a file is called the same from wherever it is named.
    return Path(os.path.normpath(folder / path))


def _from(path: Path | str, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()


def _bundle_name(path: str) -> str:
    return Path(path).name.removesuffix(".lineside")


def _place(watch: str, folder: Path) -> str:
    """A camera's number or a URL as it is, a path below the configuration's folder."""
    return watch if watch.isdigit() or "://" in watch else str(_below(folder, watch))
