"""Injected faults: `python -m scripts.chaos`, also `make chaos`.

What was acknowledged, before a process was killed, a disk was full or a server was lost, is there
afterwards, once and in order. A bundle that is being replaced is always one that can be opened.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from edge_app.live.underway import MOST_TRIES
from edge_app.outputs import delivery
from edge_app.outputs.base import Address
from edge_app.outputs.delivery import Output, delivering
from edge_app.records import Database, Journal, Outbox
from edge_app.store import give_word, open_store
from edge_app.store import words as words_module
from runtime.bundle.folder import Bundle
from scripts.campaign.workers import (
    Worker,
    adding,
    arrival,
    file_of,
    installing,
    names_in,
    watching,
)

# A whole campaign; a test runs a few of each.
WHOLE = {
    "killed while recording": 200,
    "power cut in the log": 80,
    "disk full": 60,
    "two instances, both killed": 40,
    "killed while installing a bundle": 60,
    "output lost": 60,
    "clock jumps": 20,
    "killed by a picture": 12,
}


@dataclass
class Survived:
    """What came of a campaign.

    Attributes:
        faults: injected, by kind.
        acknowledged: things that had to be there afterwards.
        lost: what was not, or came twice, or out of order.
        longest_s: until the records answered again.
    """

    faults: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0
    lost: list[str] = field(default_factory=list)
    longest_s: float = 0.0
    _counted: set[str] = field(default_factory=set)

    def expect(self, what: str, acknowledged: list[str], found: list[str]) -> None:
        """Everything acknowledged is found, in its order, and nothing twice."""
        asked = set(acknowledged)
        self.acknowledged += len(asked - self._counted)
        self._counted |= asked
        if [name for name in found if name in asked] != acknowledged:
            self.lost.append(f"{what}: acknowledged {acknowledged[-3:]}, found {found[-3:]}")
        if len(set(found)) < len(found):
            self.lost.append(f"{what}: something stands twice")


def chaos(bundle: Path, most: dict[str, int], seed: int = 0) -> Survived:
    """Inject faults.

    Args:
        bundle: folder of a bundle.
        most: how many of each kind of :data:`WHOLE`.
        seed: of when they strike.
    """
    generator, survived = random.Random(seed), Survived()
    kinds: dict[str, Callable[[Path, Path, random.Random, Survived, int], None]] = {
        "killed while recording": _killed,
        "power cut in the log": _power_cut,
        "disk full": _full,
        "two instances, both killed": _two,
        "killed while installing a bundle": _installing,
        "output lost": _output_lost,
        "clock jumps": _clock,
        "killed by a picture": _poison,
    }
    for name, inject in kinds.items():
        with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
            inject(bundle, Path(folder), generator, survived, most[name])
        survived.faults[name] += most[name]
    return survived


def _look(survived: Survived, folder: Path) -> list[str]:
    started = time.monotonic()
    found = names_in(folder)
    survived.longest_s = max(survived.longest_s, time.monotonic() - started)
    return found


def _killed(_: Path, root: Path, generator: random.Random, survived: Survived, most: int) -> None:
    acknowledged: list[str] = []
    for turn in range(most):
        worker = Worker(adding(root, f"{turn}-"))
        acknowledged += worker.wait_for(generator.randint(1, 5))
        time.sleep(generator.random() * 0.003)
        acknowledged += worker.end()[0]
        survived.expect(f"kill {turn}", acknowledged, _look(survived, root))


def _power_cut(
    _: Path, root: Path, generator: random.Random, survived: Survived, most: int
) -> None:
    """What stands in the log behind the last commit was never synced: it is cut or nonsense."""
    for turn in range(most):
        folder = root / str(turn)
        folder.mkdir()
        worker = Worker(adding(folder, f"cut {turn}-"))
        acknowledged = worker.wait_for(generator.randint(1, 5))
        os.kill(worker.pid, 19)
        log = folder / "records.db-wal"
        size = log.stat().st_size
        acknowledged += worker.end()[0]
        with log.open("r+b") as file:
            file.seek(0, os.SEEK_END)
            if generator.random() < 0.5:
                file.write(generator.randbytes(generator.randint(1, 9000)))
            elif file.tell() > size:
                file.truncate(generator.randint(size, file.tell()))
        survived.expect(f"power cut {turn}", acknowledged, _look(survived, folder))


def _full(_: Path, root: Path, generator: random.Random, survived: Survived, most: int) -> None:
    acknowledged: list[str] = []
    names_in(root)
    for turn in range(most):
        room = max(path.stat().st_size for path in root.iterdir())
        worker = Worker(adding(root, f"full {turn}-", 400), room + generator.randint(0, 200_000))
        said, status = worker.end(kill=False)
        acknowledged += said
        if os.WIFSIGNALED(status) or os.WEXITSTATUS(status) not in (0, 3):
            survived.lost.append(f"disk full {turn}: ended with status {status}")
        survived.expect(f"disk full {turn}", acknowledged, _look(survived, root))


def _two(_: Path, root: Path, generator: random.Random, survived: Survived, most: int) -> None:
    acknowledged: dict[str, list[str]] = {"a": [], "b": []}
    for turn in range(most // 2):
        pair = {name: Worker(adding(root, f"{name}{turn}-")) for name in acknowledged}
        for name, worker in pair.items():
            acknowledged[name] += worker.wait_for(generator.randint(1, 4))
        for name, worker in pair.items():
            acknowledged[name] += worker.end()[0]
        found = _look(survived, root)
        for said in acknowledged.values():
            survived.expect(f"two instances {turn}", said, found)


def _installing(
    bundle: Path, root: Path, generator: random.Random, survived: Survived, most: int
) -> None:
    target = root / "installed"
    shutil.copytree(bundle, target)
    for turn in range(most):
        worker = Worker(installing(bundle, target))
        worker.wait_for(generator.randint(0, 1))
        time.sleep(generator.random() * 0.02)
        worker.end()
        survived.acknowledged += 1
        try:
            Bundle.open(target).thresholds()
        except Exception as error:
            survived.lost.append(f"install {turn}: {error}")
        for left in root.glob(".installed.*"):
            shutil.rmtree(left)


class _Flaky:
    """An output that is lost before or after it has taken a message."""

    def __init__(self, taken: list[str], generator: random.Random, faults: list[int]) -> None:
        self._taken, self._generator, self._faults = taken, generator, faults

    def send(self, message: dict[str, Any]) -> None:
        fails = self._faults[0] > 0 and self._generator.random() < 0.5
        self._faults[0] -= fails
        if fails and self._generator.random() < 0.5:
            raise ConnectionError("lost before")
        self._taken.append(message["name"])
        if fails:
            raise ConnectionError("lost after")

    def close(self) -> None:
        pass


def _output_lost(
    _: Path, root: Path, generator: random.Random, survived: Survived, most: int
) -> None:
    """At least once, in order: a message that comes twice has the same number."""
    taken: list[str] = []
    faults = [most]
    database = Database(root)
    journal, outbox = Journal(database), Outbox(database, ["mes"])
    names = [f"{index:04d}" for index in range(2 * most)]
    for name in names:
        journal.add(arrival(name))
    output = Output(Address("mes", "http://mes", "", ""), ("anomalous",))
    opens = mock.patch.object(delivery, "open_sender", lambda _: _Flaky(taken, generator, faults))
    at_once = mock.patch.object(delivery, "_PAUSES_S", (0.0,))
    with opens, at_once, delivering([output], journal, outbox):
        end = time.monotonic() + 60
        while outbox.place("mes")[0] < len(names) and time.monotonic() < end:
            time.sleep(0.01)
    database.close()
    # The same one again, right behind itself.
    once = [name for at, name in enumerate(taken) if at == 0 or taken[at - 1] != name]
    survived.expect("output lost", names, once)


def _clock(_: Path, root: Path, generator: random.Random, survived: Survived, most: int) -> None:
    """The last word on a part stays the last, whatever the clock says."""
    from tests.edge_app.points import BUNDLE, LENGTH, make_points

    years = [0]

    @contextmanager
    def jumped() -> Any:
        def now() -> str:
            return f"{2026 + years[0]}-01-01T00:00:00.000000+00:00"

        with mock.patch.object(words_module, "now", now):
            yield

    with open_store(str(root), bundle=BUNDLE, embedding_length=LENGTH) as store, jumped():
        point = make_points(1)[0]
        for turn in range(most):
            years[0] = generator.randint(-20, 73)
            word = generator.choice(["right", "wrong"])
            give_word(store, point, word, f"operator {turn}")
            found = store.fetch([point.point_id])[0]
            said = [f"operator {turn} {word}"]
            survived.expect("clock", said, [f"{found.confirmed_by} {found.confirmed}"])


def _poison(
    bundle: Path, root: Path, generator: random.Random, survived: Survived, most: int
) -> None:
    """A picture that ends the process is left aside after two, and all others are judged."""
    for turn in range(0, most, MOST_TRIES):
        folder = root / str(turn)
        names = [f"{number}.png" for number in range(5)]
        poison = generator.choice(names)
        statuses = []
        for _ in range(MOST_TRIES + 1):
            worker = Worker(watching(bundle, folder, names, poison))
            statuses.append(worker.end(kill=False)[1])
        survived.expect(f"poison {turn}", sorted(names), sorted(map(file_of, names_in(folder))))
        unjudged = [file_of(name) for name in names_in(folder, "cannot_judge")]
        ended = [os.WTERMSIG(status) for status in statuses]
        if unjudged != [poison] or ended != [signal.SIGSEGV] * MOST_TRIES + [0]:
            survived.lost.append(f"poison {turn}: {unjudged} for {poison}, ended {ended}")


def main() -> None:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=1.0, help="of the whole campaign")
    arguments = parser.parse_args()
    from tests.edge_app.tiny_bundle import write_tiny_bundle

    # A child, for a compiler of models has threads, which no fork survives.
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        if os.fork() == 0:
            write_tiny_bundle(bundle)
            os._exit(0)
        os.wait()
        most = {name: max(1, round(count * arguments.share)) for name, count in WHOLE.items()}
        survived = chaos(bundle, most, arguments.seed)
    for name, count in survived.faults.items():
        print(f"{name:34} {count:4}")
    for lost in survived.lost:
        print(f"LOST {lost}")
    print(
        f"{sum(survived.faults.values())} faults, seed {arguments.seed}: "
        f"{survived.acknowledged} acknowledged, {len(survived.lost)} lost or doubled, answers "
        f"again within {survived.longest_s:.2f} s"
    )
    sys.exit(bool(survived.lost))


if __name__ == "__main__":
    main()
