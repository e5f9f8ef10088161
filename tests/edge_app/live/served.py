"""A whole station on a tiny bundle, in this process: real HTTP on a free port."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge_app.live.config import read_config
from edge_app.live.running import running_station
from tests.edge_app.tiny_bundle import write_part, write_tiny_bundle


@dataclass(frozen=True)
class Place:
    """The folder of a station.

    Attributes:
        root: of all of it.
        incoming: what it watches.
    """

    root: Path
    incoming: Path

    @property
    def config(self) -> Path:
        """Its configuration."""
        return self.root / "station.toml"

    def drop(self, name: str, kind: str, seed: int = 0, side: int = 256) -> None:
        """A part comes: ``good``, ``dark`` or ``bright``."""
        write_part(self.root / name, seed, kind, side=side)
        # As a careful camera writes it: whole at once.
        (self.root / name).replace(self.incoming / name)


def place_at(root: Path, more: str = "") -> Place:
    """A station's folder with its configuration, ``more`` at the end of it."""
    write_tiny_bundle(root / "tile-tiny")
    place = Place(root, root / "incoming")
    place.incoming.mkdir()
    place.config.write_text(
        'bundles = ["tile-tiny"]\n[[sources]]\nname = "left"\nwatch = "incoming"\n'
        f"[page]\nport = 0\n{more}",
        encoding="utf-8",
    )
    return place


@contextmanager
def station_at(place: Place, password: str | None = None) -> Iterator[str]:
    """Its URL while it runs."""
    with running_station(read_config(place.config), password) as url:
        yield url
