"""The memory of a line goes on when another version judges: in the background, and resumed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from edge_app.fingerprint import bundle_fingerprint
from edge_app.line import Line
from edge_app.records import Database, events
from edge_app.teaching.jobs import Job, Jobs, Say
from edge_app.teaching.remembering import describe_again, earlier_parts, slowly
from edge_app.teaching.versions import Versions
from runtime.bundle.folder import Bundle
from runtime.errors import LinesideError, TrainingError, sentence
from runtime.inspector import Inspector

log = logging.getLogger("lineside")

EVENT = "teach"
WENT_LIVE, WENT_BACK = _SWITCHES = ("went live", "went back")
_DONE = "described earlier parts"
# Versions whose parts are looked for, the newest ones.
_MOST_VERSIONS = 12


class Memory:
    """Describes earlier parts for the versions that judge, one line at a time. Safe in threads.

    Args:
        store: folder of the records.
        versions: those of a line's bundle, by the line's name.
        record: into the records: what was done, the line, the version, and by whom.
    """

    def __init__(
        self, store: Path, versions: Callable[[str], Versions], record: Callable[..., None]
    ) -> None:
        self._store, self._versions, self._record = store, versions, record
        self._lock = threading.Lock()
        self._owed: dict[str, Line] = {}
        self._jobs = Jobs()

    @property
    def now(self) -> Job:
        """The work as it is now, or the last one; its lines say how many, and how many cannot."""
        return self._jobs.now

    def renew(self, line: Line) -> None:
        """Another version judges at a line: describe earlier parts for it."""
        with self._lock:
            self._owed[line.name] = line
            # What is under way may be for a version that judges no more.
            self._jobs.stop("remember")
            self._jobs.begin("remember", self._work)

    def resume(self, lines: Iterable[Line]) -> None:
        """Go on for lines where that did not come to its end."""
        try:
            unfinished = set(self._unfinished())
        except LinesideError as error:
            log.warning(f"warning: not known which parts to describe: {sentence(error)}")
            return
        for line in lines:
            if line.name in unfinished:
                self.renew(line)

    def close(self) -> None:
        """End what is under way."""
        self._jobs.close()

    def _unfinished(self) -> Iterator[str]:
        database = Database(self._store)
        try:
            last = {
                str(one.details.get("bundle")): one.details.get("what")
                for one in events(database, EVENT)
                if one.details.get("what") in (*_SWITCHES, _DONE)
            }
        finally:
            database.close()
        yield from (name for name, what in last.items() if what != _DONE)

    def _work(self, say: Say) -> list[str]:
        described = gone = 0
        with slowly():
            while self._owed:
                name, line = next(iter(self._owed.items()))
                found = self._remembered(line, say)
                described, gone = described + found[0], gone + found[1]
                self._owed.pop(name, None)
        return [str(described), str(gone)]

    def _remembered(self, line: Line, say: Say) -> tuple[int, int]:
        versions = self._versions(line.name)
        live, store, variant = versions.pointer().live, line.store, line.inspector.variant
        others = dict(self._others(versions, store.bundle))
        parts = earlier_parts(self._store, list(others))
        own = {store.bundle, *line.inspector.bundle.manifest.grown_from}
        alike = [one for one, its in others.items() if own & {one, *its}]

        def said(described: int, gone: int) -> None:
            if self._jobs.ending:
                raise TrainingError("expected to go on, found that it is to end; it goes on later")
            say(f"{described + gone} / {len(parts)}")

        done: dict[str, Any] = {"parts": 0, "without_picture": 0}
        if parts and not line.inspector.bundle.manifest.is_blank:
            with Inspector(
                versions.path(live), engine=variant.engine, precision=variant.precision, threads=1
            ) as inspector:
                if bundle_fingerprint(inspector.bundle) != store.bundle:
                    raise TrainingError(f"{live}: expected the version that judges, found another")
                found = describe_again(parts, inspector, store, self._store, alike, said)
            done = {"parts": found.described, "without_picture": found.gone}
        self._record(_DONE, line.name, live, "the station", **done)
        return done["parts"], done["without_picture"]

    def _others(self, versions: Versions, live: str) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Of the bundle and its versions, but for the one that judges: each, and its ancestors."""
        names = ["", *(name for name, _ in versions.all())][-_MOST_VERSIONS:]
        for name in dict.fromkeys(["", *names]):
            try:
                with Bundle.open(versions.path(name)) as bundle:
                    found, its = bundle_fingerprint(bundle), bundle.manifest.grown_from
            except LinesideError as error:
                log.warning(f"warning: its parts are not described: {sentence(error)}")
                continue
            if found != live:
                yield found, its
