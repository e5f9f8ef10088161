"""Hostile input for every parser at the edge: `python -m scripts.fuzz --cases 100000`.

Each case is one of a few whole files with something done to it, from a seed of its own. It must be
read or refused with an error of ours, within 2 s of processor time and 1 GiB, write nothing outside
its folder and load no pickle. Cases run in child processes, so that a crash costs one of them.
Cheap parsers have many cases, dear ones fewer. With --state a campaign goes on where it was ended.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path

from runtime import atomic
from runtime.errors import LinesideError
from scripts.campaign.mutate import mutated
from scripts.campaign.targets import MODEL_SHARE, Target, model_target, targets
from scripts.campaign.trap import VIOLATIONS, watch

log = logging.getLogger("lineside")

LIMIT_S = 2.0
LIMIT_MIB = 1024
# Of a library that hangs: then the case's process is ended from outside of it.
_HANGS_S = 60.0
_BATCH = 500
# One that is opened in each child, and costs milliseconds a case.
HTTP_SHARE = 4

Opener = Callable[[], AbstractContextManager[Target]]


@dataclass
class Tried:
    """What came of one parser's cases.

    Attributes:
        cases: tried; the next one has this number.
        refused: of these.
        ended: engines' processes that a case has ended, and nothing else with it.
        faults: crashes, hangs, memory and writes, each with what makes it again.
        cpu_s: processor time of all cases.
        slowest_s: of the slowest one.
        most_mib: memory of the largest child.
    """

    cases: int = 0
    refused: int = 0
    ended: int = 0
    faults: list[str] = field(default_factory=list)
    cpu_s: float = 0.0
    slowest_s: float = 0.0
    most_mib: float = 0.0

    def add(self, other: Tried) -> None:
        """Count what another batch has tried."""
        self.cases += other.cases
        self.refused += other.refused
        self.ended += other.ended
        self.faults += other.faults
        self.cpu_s += other.cpu_s
        self.slowest_s = max(self.slowest_s, other.slowest_s)
        self.most_mib = max(self.most_mib, other.most_mib)


@dataclass
class Campaign:
    """What came of all of them.

    Attributes:
        seed: of every case.
        cases: that were asked for.
        tried: by parser.
    """

    seed: int
    cases: int
    tried: dict[str, Tried] = field(default_factory=dict)

    @property
    def total(self) -> Tried:
        """All parsers together."""
        found = Tried()
        for one in self.tried.values():
            found.add(one)
        return found


def fuzz(
    bundle: Path,
    cases: int,
    seed: int = 0,
    *,
    http: bool = True,
    forked: bool = True,
    seconds: float = float("inf"),
    state: Path | None = None,
) -> Campaign:
    """Run a campaign, or go on with one.

    Args:
        bundle: with thresholds.json and health.json.
        cases: over all parsers, by their shares.
        seed: of all of them.
        http: whether the API and the engines are among them.
        forked: in child processes; without them a crash ends all.
        seconds: no batch is begun after these.
        state: file that keeps what was tried; None for none.
    """
    root = Path(tempfile.mkdtemp(prefix="fuzz-"))
    end = time.monotonic() + seconds
    campaign = _begun(state, seed, cases)
    try:
        work = root / "work"
        # What a name that leaves its folder would meet first.
        (root / "up").write_text("untouched")
        openers = _openers(bundle, work, http=http)
        shares = sum(share for _, share, _ in openers)
        wanted = {name: math.ceil(cases * share / shares) for name, share, _ in openers}
        # In turns, so that a campaign that is ended early has been everywhere.
        while rest := [one for one in openers if _tried(campaign, one[0]).cases < wanted[one[0]]]:
            for name, share, opener in rest:
                if time.monotonic() > end:
                    return campaign
                tried = _tried(campaign, name)
                most = max(1, int(_BATCH * share / 8)) if forked else wanted[name]
                numbers = range(tried.cases, min(tried.cases + most, wanted[name]))
                run = _in_child if forked else _batch
                tried.add(run(name, opener, seed, numbers, work))
                if state is not None:
                    atomic.write_bytes(state, json.dumps(asdict(campaign)).encode())
            log.info(f"{campaign.total.cases} of {sum(wanted.values())} cases")
        outside = [path.name for path in root.iterdir() if path.name not in ("up", "work")]
        if outside or (root / "up").read_text() != "untouched":
            _tried(campaign, "all").faults.append(f"wrote outside its folder: {outside}")
        return campaign
    finally:
        watch(None)
        shutil.rmtree(root, ignore_errors=True)


def _begun(state: Path | None, seed: int, cases: int) -> Campaign:
    if state is None or not state.exists():
        return Campaign(seed, cases)
    raw = json.loads(state.read_bytes())
    if raw["seed"] != seed:
        raise SystemExit(f"{state}: expected seed {seed}, found {raw['seed']}; delete the file")
    return Campaign(seed, cases, {name: Tried(**one) for name, one in raw["tried"].items()})


def _tried(campaign: Campaign, name: str) -> Tried:
    return campaign.tried.setdefault(name, Tried())


def _openers(bundle: Path, work: Path, *, http: bool) -> list[tuple[str, float, Opener]]:
    def opened(target: Target) -> Opener:
        return lambda: nullcontext(target)

    found = [(one.name, one.share, opened(one)) for one in targets(bundle, work)]
    if http:
        from scripts.campaign.http_bodies import http_target

        # Opened in the child, for an engine has threads, which no fork survives.
        found.append(("model", MODEL_SHARE, lambda: nullcontext(model_target(bundle, work))))
        found.append(("http", HTTP_SHARE, lambda: http_target(bundle, work)))
    return found


def _batch(name: str, opener: Opener, seed: int, numbers: range, work: Path) -> Tried:
    found = Tried()
    with opener() as target:
        watch(work)
        VIOLATIONS.clear()
        before = _mib()
        if not numbers.start and (said := _refusal(target)):
            # Nothing behind the first check would ever be tried.
            found.faults.append(f"{name}: its whole file is refused: {said}")
        for number in numbers:
            (work / "now").write_text(str(number))
            generator = random.Random(f"{seed} {name} {number}")
            data = mutated(target.seeds, generator, json_values=target.is_json)
            signal.setitimer(signal.ITIMER_REAL, _HANGS_S)
            _case(found, target, number, data)
            signal.setitimer(signal.ITIMER_REAL, 0)
            mib = _mib()
            if mib > max(LIMIT_MIB, before):
                found.faults.append(f"{name} {number}: {mib:.0f} MiB")
            before = max(before, mib)
        watch(None)
    found.most_mib = before
    return found


def _refusal(target: Target) -> str:
    try:
        return "refused" if target.run(target.seeds[0]) else ""
    except LinesideError as error:
        return str(error)


def _case(found: Tried, target: Target, number: int, data: bytes) -> None:
    started = time.process_time()
    found.cases += 1
    faults: list[str] = []
    try:
        found.refused += bool(target.run(data))
    except LinesideError as error:
        found.refused += 1
        found.ended += "process ended" in str(error)
        if "\n" in str(error) or len(str(error)) > 2000:
            faults.append(f"no one-line error: {str(error)!r:.200}")
    except Exception as error:
        faults.append(f"{type(error).__name__}: {error!s:.200}")
    took = time.process_time() - started
    found.cpu_s += took
    found.slowest_s = max(found.slowest_s, took)
    if took > LIMIT_S:
        faults.append(f"{took:.1f} s")
    found.faults += [f"{target.name} {number}: {one}" for one in (*faults, *VIOLATIONS)]
    VIOLATIONS.clear()


def _mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _in_child(name: str, opener: Opener, seed: int, numbers: range, work: Path) -> Tried:
    """The same in a process that may die; then what is left of the numbers in another one."""
    found = Tried()
    result, now = work.parent / "work" / "result.json", work / "now"
    while numbers:
        result.unlink(missing_ok=True)
        now.write_text(str(numbers.start))
        child = os.fork()
        if child == 0:
            _as_child(name, opener, seed, numbers, work, result)
        _, status = os.waitpid(child, 0)
        if result.exists():
            found.add(Tried(**json.loads(result.read_text())))
            return found
        number = int(now.read_text())
        how = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else "exit"
        found.faults.append(f"{name} {number}: ended the process ({how})")
        found.cases += number - numbers.start + 1
        numbers = range(number + 1, numbers.stop)
    return found


def _as_child(
    name: str, opener: Opener, seed: int, numbers: range, work: Path, result: Path
) -> None:
    try:
        logging.getLogger().setLevel(logging.ERROR)
        # What a library says of a hostile file by itself is not of interest here.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        found = _batch(name, opener, seed, numbers, work)
        result.write_text(json.dumps(asdict(found)))
    finally:
        os._exit(0)


def main() -> None:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="at most so long")
    parser.add_argument("--state", type=Path, help="file to go on with")
    arguments = parser.parse_args()
    logging.basicConfig(level="INFO", format="%(message)s")
    from tests.runtime.tiny import reseal
    from tests.runtime.unwell import write_healthy_bundle

    with tempfile.TemporaryDirectory() as folder:
        bundle = write_healthy_bundle(Path(folder) / "bundle")
        reseal(bundle)
        found = fuzz(
            bundle,
            arguments.cases,
            arguments.seed,
            seconds=60 * arguments.minutes,
            state=arguments.state,
        )
    for name, one in found.tried.items():
        print(
            f"{name:14} {one.cases:6} cases, {one.refused:6} refused, "
            f"{1000 * one.cpu_s / max(one.cases, 1):6.2f} ms each, slowest {one.slowest_s:.2f} s, "
            f"most {one.most_mib:4.0f} MiB, {len(one.faults)} faults"
            + (f", {one.ended} engines ended" if one.ended else "")
        )
    total = found.total
    for fault in total.faults:
        print(f"FAULT {fault}")
    print(
        f"{total.cases} cases, seed {arguments.seed}: {len(total.faults)} faults, "
        f"slowest {total.slowest_s:.2f} s, most {total.most_mib:.0f} MiB"
    )
    sys.exit(bool(total.faults) or total.cases < arguments.cases)


if __name__ == "__main__":
    main()
