"""Brings every arrival to every output, in order and at least once, whatever breaks meanwhile."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal

from edge_app.outputs.base import Address, Sender, open_sender
from edge_app.records import Arrival, Journal, Outbox
from runtime.errors import StoreError, sentence

log = logging.getLogger("lineside")

State = Literal["waiting", "running", "away"]
# What an output may lag behind before the oldest is given up: three months at one part in a minute.
MOST_WAITING = 100_000
_BATCH = 50
_LOOK_S = 0.1
# From one attempt to the next.
_PAUSES_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_PATIENCE_S = 15.0
_LEFT_OUT = ("size", "written_ns", "word", "defect_type", "word_defect", "recorded")


@dataclass(frozen=True)
class OutputState:
    """One output as it is now.

    Attributes:
        name: its name.
        state: ``waiting`` until the first delivery, ``running``, or ``away``.
        trouble: why it is away.
        waiting: arrivals that it has yet to take.
        lost: arrivals that were given up because too many waited.
    """

    name: str
    state: State = "waiting"
    trouble: str = ""
    waiting: int = 0
    lost: int = 0


@dataclass(frozen=True)
class Output:
    """Where verdicts go, and which.

    Attributes:
        address: where.
        verdicts: those that are delivered.
        most_waiting: arrivals that may wait.
    """

    address: Address
    verdicts: tuple[str, ...]
    most_waiting: int = MOST_WAITING


def message_of(arrival: Arrival) -> dict[str, Any]:
    """What is delivered of an arrival; its number tells one that comes twice."""
    found = {name: value for name, value in asdict(arrival).items() if name not in _LEFT_OUT}
    return {**found, "name": arrival.name.replace("\\", "/").rpartition("/")[2]}


@contextmanager
def delivering(
    outputs: Sequence[Output],
    journal: Journal,
    outbox: Outbox,
    tell: Callable[[OutputState], None] = lambda state: None,
) -> Iterator[None]:
    """Deliver in a thread for each output while the block runs; what is left waits for the next.

    Args:
        outputs: where to.
        journal: what to deliver.
        outbox: how far each has got.
        tell: is told how an output is whenever that changes.
    """
    stop = threading.Event()
    threads = [
        threading.Thread(
            target=_Delivery(one, journal, outbox, tell, stop).run,
            name=f"lineside-output-{one.address.name}",
            daemon=True,
        )
        for one in outputs
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(_PATIENCE_S)


class _Delivery:
    def __init__(
        self,
        output: Output,
        journal: Journal,
        outbox: Outbox,
        tell: Callable[[OutputState], None],
        stop: threading.Event,
    ) -> None:
        self._output, self._name = output, output.address.name
        self._journal, self._outbox = journal, outbox
        self._tell, self._stop = tell, stop
        self._sender: Sender | None = None
        self._state = OutputState(self._name)

    def run(self) -> None:
        """Until it is told to stop; whatever fails is said and tried again."""
        failures = 0
        while not self._stop.is_set():
            try:
                pause = 0.0 if self._deliver_some() else _LOOK_S
                failures = 0
            except Exception as error:
                self._failed(error, first=not failures)
                pause = _PAUSES_S[min(failures, len(_PAUSES_S) - 1)]
                failures += 1
            self._stop.wait(pause)
        self._let_go()

    def _deliver_some(self) -> bool:
        """Deliver what is next; whether there was anything."""
        delivered, newest, lost = self._outbox.place(self._name)
        if newest - delivered > self._output.most_waiting:
            gone = newest - self._output.most_waiting - delivered
            self._outbox.delivered(self._name, delivered + gone, gone)
            said = f"{gone} verdicts were given up, for too many wait"
            log.warning(f"warning: output {self._name}: {said}")
            return True
        found = self._journal.after(delivered, _BATCH)
        for arrival in found:
            if self._stop.is_set():
                break
            if arrival.verdict in self._output.verdicts:
                self._connected().send(message_of(arrival))
            # After the other side has it: killed in between, it is sent once more.
            self._outbox.delivered(self._name, arrival.number)
            self._is(OutputState(self._name, "running", "", newest - arrival.number, lost))
        if not found and self._state.state != "running":
            self._connected()
            self._is(OutputState(self._name, "running", "", 0, lost))
        return bool(found)

    def _connected(self) -> Sender:
        if self._sender is None:
            self._sender = open_sender(self._output.address)
        return self._sender

    def _failed(self, error: Exception, *, first: bool) -> None:
        self._let_go()
        said = sentence(error)
        if first:
            log.warning(f"warning: output {self._name}: {said}; trying again until it takes it")
        waiting, lost = self._state.waiting, self._state.lost
        if not isinstance(error, StoreError):
            delivered, newest, lost = self._outbox.place(self._name)
            waiting = newest - delivered
        self._is(OutputState(self._name, "away", said, waiting, lost))

    def _let_go(self) -> None:
        if self._sender is not None:
            try:
                self._sender.close()
            except Exception as error:
                log.debug(f"output {self._name}: {sentence(error)}")
            self._sender = None

    def _is(self, state: OutputState) -> None:
        if state == self._state:
            return
        if self._state.state == "away" and state.state == "running":
            log.info(f"output {self._name}: it takes verdicts again")
        self._state = state
        self._tell(state)
