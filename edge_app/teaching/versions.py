"""Versions of a bundle: a folder for each beside it, and a pointer to the one that judges.

``tile-patchcore`` has its versions in ``tile-patchcore.versions``: ``v0001``, ``v0002``, each with
``v0001.json`` beside it, which says who made it. ``live.json`` names the one that judges; without
it the bundle itself does. A version is written once and never changed; going live and back rewrites
the pointer alone, whole or not at all.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec

from runtime import atomic
from runtime.decode import read_json
from runtime.errors import BundleError, LinesideError, sentence

log = logging.getLogger("lineside")

Opened = TypeVar("Opened")
POINTER = "live.json"
_Name = Annotated[str, msgspec.Meta(pattern=r"^(v[0-9]{4,})?$")]
_ADVICE = "remove the file, and the bundle that the station was given judges"


@dataclass(frozen=True)
class About:
    """What is known of a version.

    Attributes:
        part: that was taught.
        made: UTC, ISO 8601.
        who: has made it.
        pictures: that it has learned.
    """

    version_format: Literal[1]
    part: str
    made: str
    who: str
    pictures: int


@dataclass(frozen=True)
class Pointer:
    """Which version judges; ``""`` is the bundle itself.

    Attributes:
        live: its name.
        before: those that judged before it, the last one at the end.
        since: UTC, ISO 8601.
        who: has decided it.
    """

    pointer_format: Literal[1]
    live: _Name
    before: list[_Name] = field(default_factory=list)
    since: str = ""
    who: str = ""


class Versions:
    """Those of one bundle.

    Args:
        bundle: its folder or file, as the station was given it.
    """

    def __init__(self, bundle: Path) -> None:
        self.bundle = bundle
        name = bundle.resolve().name.removesuffix(".lineside")
        self.folder = bundle.resolve().parent / f"{name}.versions"

    def pointer(self) -> Pointer:
        """Which one judges; one that cannot be read is told, and then the bundle itself does."""
        path = self.folder / POINTER
        if not path.exists():
            return Pointer(1, "")
        try:
            return read_json(path, Pointer, error=BundleError, advice=_ADVICE, known_only=True)
        except BundleError as error:
            log.warning(f"warning: {error}")
            return Pointer(1, "")

    def path(self, name: str) -> Path:
        """Where a version is; of ``""`` the bundle itself."""
        return self.folder / name if name else self.bundle

    def all(self) -> list[tuple[str, About]]:
        """Every version with what is known of it, oldest first."""
        found = []
        for path in sorted(self.folder.glob("v*.json")):
            try:
                about = read_json(path, About, error=BundleError, advice="remove it")
            except BundleError as error:
                log.warning(f"warning: {error}")
                continue
            if (self.folder / path.stem).is_dir():
                found.append((path.stem, about))
        return found

    def next(self) -> str:
        """A name that no version has, made or begun."""
        taken = [0, *(int(one.stem[1:]) for one in self.folder.glob("v[0-9]*") if _numbered(one))]
        return f"v{max(taken) + 1:04}"

    def tidy(self) -> None:
        """Take away what a power cut has left half-made; whoever calls it makes none meanwhile."""
        for path in self.folder.glob(".v[0-9]*"):
            shutil.rmtree(path, ignore_errors=True)

    def made(self, name: str, part: str, who: str, pictures: int) -> None:
        """Say what a version is, once its folder is whole."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        atomic.write_json(self.folder / f"{name}.json", asdict(About(1, part, now, who, pictures)))

    def go_live(self, name: str, who: str) -> None:
        """Let a version judge."""
        now = self.pointer()
        if name != now.live:
            self._point(name, [*now.before, now.live], who)

    def go_back(self, who: str) -> str:
        """Let the one judge that judged before.

        Returns:
            its name.

        Raises:
            BundleError: there is none.
        """
        now = self.pointer()
        if not now.before:
            raise BundleError(
                f"{self.bundle}: expected a version that judged before this one, found none"
            )
        self._point(now.before[-1], now.before[:-1], who)
        return now.before[-1]

    def rolled_back(self, count: int) -> None:
        """Say that so many versions cannot be used, so that the screens show who judges."""
        if not count:
            return
        now = self.pointer()
        left = [now.live, *reversed(now.before)][count:]
        try:
            self._point(left[0] if left else "", left[:0:-1], "the station")
        except OSError as error:
            log.warning(f"warning: {self.folder / POINTER}: cannot be written: {sentence(error)}")

    def _point(self, name: str, before: list[str], who: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        since = datetime.now(UTC).isoformat(timespec="seconds")
        atomic.write_json(self.folder / POINTER, asdict(Pointer(1, name, before, since, who)))


def opened_at_work(bundle: Path, opening: Callable[[Path], Opened]) -> Opened:
    """Open the version of a bundle that judges, or the one before it where that cannot be used.

    Args:
        bundle: as the station was given it.
        opening: opens one, and refuses it where its golden pictures come out otherwise.

    Raises:
        LinesideError: the bundle itself cannot be used either.
    """
    versions = Versions(bundle)
    now = versions.pointer()
    names = [now.live, *reversed(now.before)]
    for place, name in enumerate(names):
        if not name:
            break
        try:
            found = opening(versions.path(name))
        except LinesideError as error:
            log.warning(
                f"warning: {bundle}: the version {name} that should judge cannot be used, so the "
                f"one before it does: {sentence(error)}"
            )
            continue
        versions.rolled_back(place)
        return found
    found = opening(bundle)
    if now.live:
        versions.rolled_back(len(names))
    return found


def _numbered(path: Path) -> bool:
    return path.stem[1:].isdigit()
