"""What the operator's screen shows just now: the sources, their newest parts, what went wrong."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from edge_app.live.keeping import Pictures
from edge_app.live.looks import Look, Looks
from edge_app.live.settings import Source
from edge_app.outputs.delivery import OutputState
from edge_app.records import Arrival, Journal
from edge_app.records.arrivals import MOST_WAITING

State = Literal["waiting", "running", "away", "ended"]


@dataclass(frozen=True)
class SourceState:
    """One source as it is now.

    Attributes:
        name: its name.
        bundle: name of the bundle that judges.
        state: ``waiting`` until it is there the first time, ``running``, ``away``, or ``ended``.
        trouble: why it is not running.
        in_work: parts that are being judged.
        newest: the part judged last, or None.
        drift: the alarm in force, in a sentence; empty if there is none.
        warning: what is wrong beside the verdicts, e.g. a store that cannot be written.
    """

    name: str
    bundle: str
    state: State = "waiting"
    trouble: str = ""
    in_work: int = 0
    newest: Arrival | None = None
    drift: str = ""
    warning: str = ""


@dataclass
class Board:
    """The state of a station, for its screens. Safe in threads.

    Args:
        sources: of the configuration.
        journal: what they have brought.

    Attributes:
        looks: pictures of the newest parts.
        kept: frames that are kept, or None.
    """

    sources: Sequence[Source]
    journal: Journal
    looks: Looks = field(default_factory=Looks)
    kept: Pictures | None = None

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._version = 0
        self._unwritten: list[Arrival] = []
        self._outputs: dict[str, OutputState] = {}
        self._states = {one.name: SourceState(one.name, one.bundle) for one in self.sources}

    @property
    def version(self) -> int:
        """A number that grows with every change."""
        return self._version

    def folders(self) -> list[Path]:
        """Those that are watched."""
        return [Path(one.watch) for one in self.sources if "://" not in one.watch]

    def states(self) -> list[SourceState]:
        """Every source as it is now."""
        with self._lock:
            return list(self._states.values())

    def is_(self, source: str, state: State, trouble: str = "") -> None:
        """A source has come, gone or ended."""
        self._change(source, state=state, trouble=trouble)

    def begun(self, source: str) -> None:
        """A part of a source is being judged."""
        with self._lock:
            found = self._states[source]
            self._put(replace(found, in_work=found.in_work + 1))

    def judged(
        self, part: Arrival, look: Look | None, *, drift: str = "", warning: str = ""
    ) -> None:
        """A part has its verdict."""
        if look is not None and part.id:
            self.looks.add(part.id, look)
        with self._lock:
            found = self._states[part.source]
            left = max(0, found.in_work - 1)
            self._put(replace(found, in_work=left, newest=part, drift=drift, warning=warning))

    def failed(self, part: Arrival | None, source: str, warning: str) -> None:
        """What is wrong beside the verdicts; a flagged part that is not written down is kept."""
        with self._lock:
            if part is not None and part.verdict != "good":
                number = min((one.number for one in self._unwritten), default=0) - 1
                self._unwritten = [*self._unwritten, replace(part, number=number)][-MOST_WAITING:]
            self._put(replace(self._states[source], warning=warning))

    def unwritten(self) -> list[Arrival]:
        """Flagged parts that the journal could not take, and nobody has looked at."""
        with self._lock:
            return list(self._unwritten)

    def look_at(self, number: int) -> bool:
        """Somebody has looked at one of them; whether there is such a part."""
        with self._lock:
            left = [one for one in self._unwritten if one.number != number]
            found = len(left) < len(self._unwritten)
            self._unwritten = left
            self._version += 1
        return found

    def output_is(self, state: OutputState) -> None:
        """An output has got further, or has gone."""
        with self._lock:
            self._outputs[state.name] = state
            self._version += 1

    def outputs_are(self, states: Sequence[OutputState]) -> None:
        """These are the outputs from now on."""
        with self._lock:
            self._outputs = {one.name: one for one in states}
            self._version += 1

    def outputs(self) -> list[OutputState]:
        """Every output as it is now."""
        with self._lock:
            return list(self._outputs.values())

    def recorded(self) -> None:
        """The journal has something new."""
        with self._lock:
            self._version += 1

    def _change(self, source: str, **changes: object) -> None:
        with self._lock:
            self._put(replace(self._states[source], **changes))  # type: ignore[arg-type]

    def _put(self, state: SourceState) -> None:
        self._states[state.name] = state
        self._version += 1
