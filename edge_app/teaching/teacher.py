"""Teaching at a box: the draft, its versions, their trial, and which one judges."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_app.line import Line
from edge_app.page.choice import Station
from edge_app.records import Database, add_event
from edge_app.teaching.draft import Draft, Drafts
from edge_app.teaching.jobs import Jobs, Say
from edge_app.teaching.memory import EVENT, WENT_BACK, WENT_LIVE, Memory
from edge_app.teaching.teach_answers import Change, TrialState
from edge_app.teaching.versions import Versions
from runtime.bundle.manifest import ROI
from runtime.errors import BundleError, ImageError, LinesideError, TrainingError, sentence
from runtime.images.preprocess import decode_rgb
from runtime.inspector import Inspector

log = logging.getLogger("lineside")

MOST_CHANGES = 24


@dataclass(frozen=True)
class TriedPart:
    """A recorded part that a version is tried on; ``content`` is its picture, or None."""

    part_id: str
    name: str
    verdict: str
    content: bytes | None


class Teacher:
    """All of it. Safe in threads.

    Args:
        station: the open lines.
        store: folder of the records.
    """

    def __init__(self, station: Station, store: Path) -> None:
        self._station, self._store = station, store
        self._lines = {line.name: line for line in station.lines.values()}
        self._look: dict[str, Any] = {}
        self._looked_at: list[str] = []
        self.drafts = Drafts(store)
        self.jobs = Jobs()
        self.trial: TrialState | None = None
        self.memory = Memory(store, self.versions, self._record)

    def versions(self, name: str) -> Versions:
        """Those of a line's bundle."""
        return Versions(self._station.paths[name])

    def teachable(self, name: str) -> bool:
        """Whether a line's bundle can be taught from, as far as its manifest says."""
        manifest = self._lines[name].inspector.bundle.manifest
        has_file = any(one.key == "onnxruntime/fp32" for one in manifest.variants)
        return manifest.model == "patchcore" and has_file and ROI not in manifest.recipe

    def seen(self, file: str) -> tuple[float | None, float | None, bool]:
        """How new a picture is, how far from the others, and whether that makes it a suspect.

        As far as they were looked at.
        """
        found = self._look.get(file, {})
        return found.get("novelty"), found.get("apart"), bool(found.get("suspect"))

    @property
    def gain(self) -> tuple[float | None, bool]:
        """By which share twice as many pictures bring more, and whether there are enough."""
        found = self._look.get("", {})
        return found.get("gain"), bool(found.get("enough"))

    def forget_looks(self) -> None:
        """The draft is another one."""
        self._look, self._looked_at = {}, []

    def look(self) -> None:
        """Compare the pictures in the background, once more where they change meanwhile."""

        def work(say: Say) -> list[str]:
            while (draft := self.drafts.now) is not None and draft.taken:
                files = [one.file for one in draft.taken]
                if files == self._looked_at:
                    break
                found = self.jobs.command(
                    "teach",
                    str(self._base(draft.line)),
                    "--good",
                    str(self.drafts.good),
                    "--look",
                    *(["--add"] if draft.add else []),
                    say=say,
                )
                if self.drafts.now is None or self.drafts.now.begun != draft.begun:
                    continue
                known = {one["name"]: one for one in found["pictures"]}
                kept = {file: self._look[file] for file in self._look if file not in known}
                self._look = {**kept, **known, "": found}
                self._looked_at = files
            return []

        self.jobs.begin("look", work)

    def make(self, draft: Draft, who: str) -> bool:
        """Make a version of the draft in the background; False where other work is under way."""
        versions, count = self.versions(draft.line), len(draft.taken)

        def work(say: Say) -> list[str]:
            name = versions.next()
            arguments = ("teach", str(self._base(draft.line)), "--good", str(self.drafts.good))
            out = versions.path(name)
            versions.folder.mkdir(parents=True, exist_ok=True)
            more = ("--add", "--records", str(self._store)) if draft.add else ("--name", draft.part)
            found = self.jobs.command(*arguments, "--out", str(out), *more, say=say)
            learned = int(found["taken" if draft.add else "n_good"])
            versions.made(name, draft.part, who, learned)
            details = {"part": draft.part, "pictures": count, "added": draft.add}
            self._record("made", draft.line, name, who, **details)
            return [name, str(found["note"])]

        self.jobs.stop("look")
        return self.jobs.begin("make", work)

    def try_version(self, line: Line, version: str, parts: Iterator[TriedPart]) -> bool:
        """Judge recorded parts with a version in the background; False where other work is."""

        def work(say: Say) -> list[str]:
            self.trial = None
            self.trial = self._tried(line, version, parts, say)
            return []

        self.jobs.stop("look")
        return self.jobs.begin("trial", work)

    def go_live(self, line: Line, version: str, who: str) -> None:
        """Let a version judge from the next part on.

        Raises:
            BundleError: it cannot be used; the one that is at work goes on.
            OSError: the pointer cannot be written; the same.
        """
        versions = self.versions(line.name)
        with self._station.switching, self._opened(line, versions.path(version)) as renew:
            versions.go_live(version, who)
            renew()
        self._record(WENT_LIVE, line.name, version, who)
        self.memory.renew(line)

    def go_back(self, line: Line, who: str) -> str:
        """Let the one judge that judged before; its name.

        Raises:
            BundleError: there is none, or it cannot be used.
            OSError: the pointer cannot be written.
        """
        versions = self.versions(line.name)
        with self._station.switching:
            before = versions.pointer().before
            if not before:
                raise BundleError(f"{line.name}: expected a version that judged before, found none")
            with self._opened(line, versions.path(before[-1])) as renew:
                versions.go_back(who)
                renew()
        self._record(WENT_BACK, line.name, before[-1], who)
        self.memory.renew(line)
        return before[-1]

    def resume(self) -> None:
        """Go on with what was under way when the station ended, however it did."""
        for name in self._lines:
            self.versions(name).tidy()
        self.memory.resume(self._lines.values())

    def close(self) -> None:
        """End what is under way."""
        self.memory.close()
        self.jobs.close()

    def _base(self, name: str) -> Path:
        """The bundle that is taught from: the one at work."""
        versions = self.versions(name)
        return versions.path(versions.pointer().live)

    @contextmanager
    def _opened(self, line: Line, path: Path) -> Iterator[Any]:
        """Open a bundle beside the one at work, and hand over once all else went well."""
        if self._station.open_bundle is None:
            raise BundleError("expected a box that may change its bundles, found another")
        inspector, store = self._station.open_bundle(path, line.stores)

        def renew() -> None:
            before = line.renew(inspector, store)
            # Its engine alone: what others may still read of its bundle stays.
            before.close()

        try:
            yield renew
        except BaseException:
            inspector.close()
            raise

    def _tried(self, line: Line, version: str, parts: Iterator[TriedPart], say: Say) -> TrialState:
        judged = gone = before = after = 0
        changes: list[Change] = []
        variant = line.inspector.variant
        with Inspector(
            self.versions(line.name).path(version), engine=variant.engine, threads=1
        ) as inspector:
            for part in parts:
                if self.jobs.ending:
                    raise TrainingError("expected a server at work, found one that ends")
                try:
                    content = b"" if part.content is None else part.content
                    found = inspector.inspect(decode_rgb(content), strict=True).verdict
                except ImageError:
                    gone += 1
                    continue
                judged += 1
                before += part.verdict != "good"
                after += found != "good"
                if found != part.verdict:
                    changes.append(Change(part.part_id, part.name, part.verdict, found))
                say(f"{judged}")
        return TrialState(
            line.name, version, judged, gone, before, after, len(changes), changes[:MOST_CHANGES]
        )

    def _record(self, what: str, line: str, version: str, who: str, **more: Any) -> None:
        """Into the log and the records: who has done what, and when."""
        details = {"what": what, "bundle": line, "version": version, "who": who, **more}
        log.info(f"{line}: {what}: {version or 'the bundle itself'}, by {who or 'somebody'}")
        try:
            database = Database(self._store)
            try:
                add_event(database, EVENT, details)
            finally:
                database.close()
        except LinesideError as error:
            log.warning(f"warning: not recorded: {sentence(error)}")
