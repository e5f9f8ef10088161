"""Hostile input for every parser at the edge: `python -m scripts.fuzz --cases 100000`.

Each case is one of a few whole files with something done to it, from a seed of its own. It must be
read or refused with an error of ours, within 2 s of processor time and 1 GiB, write nothing outside
its folder and load no pickle. Cases run in child processes, so that a crash costs one of them.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from runtime.errors import LinesideError
from scripts.campaign.mutate import mutated
from scripts.campaign.targets import Target, targets

log = logging.getLogger("lineside")

LIMIT_S = 2.0
LIMIT_MIB = 1024
_BATCH = 500
_WRITES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.truncate")


@dataclass
class Found:
    """What came of a campaign.

    Attributes:
        cases: tried, by parser.
        refused: of these.
        faults: crashes, hangs, memory and writes, each with what makes it again.
        slowest_s: processor time of the slowest case.
        most_mib: memory of the largest child.
    """

    cases: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    most_mib: float = 0.0


def fuzz(
    bundle: Path, cases: int, seed: int = 0, *, http: bool = True, forked: bool = True
) -> Found:
    """Run a campaign.

    Args:
        bundle: with thresholds.json and health.json.
        cases: over all parsers, evenly.
        seed: of all of them.
        http: whether the API is among them.
        forked: in child processes; without them a crash ends all.
    """
    root = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        work = root / "work"
        # What a name that leaves its folder would meet first.
        (root / "up").write_text("untouched")
        every = targets(bundle, work)
        each = cases // (len(every) + http)
        _watch(work)
        found = Found()
        for target in every:
            for start in range(0, each, _BATCH):
                numbers = range(start, min(start + _BATCH, each))
                (_in_child if forked else _batch)(target, seed, numbers, work, found)
            log.info(f"{target.name}: {found.cases[target.name]} cases")
        if http:
            # In this process, for an engine has threads, which no fork survives.
            from scripts.campaign.http_bodies import http_target

            _watch(None)
            with http_target(bundle) as target:
                _watch(work)
                _batch(target, seed, range(each), work, found)
        outside = [path.name for path in root.iterdir() if path.name not in ("up", "work")]
        if outside or (root / "up").read_text() != "untouched":
            found.faults.append(f"wrote outside its folder: {outside}")
        return found
    finally:
        _watch(None)
        shutil.rmtree(root, ignore_errors=True)


def _batch(target: Target, seed: int, numbers: range, work: Path, found: Found) -> None:
    for number in numbers:
        generator = random.Random(f"{seed} {target.name} {number}")
        data = mutated(target.seeds, generator, json_values=target.is_json)
        (work / "now").write_text(str(number))
        started = time.process_time()
        found.cases[target.name] += 1
        try:
            target.run(data)
        except LinesideError as error:
            found.refused[target.name] += 1
            if "\n" in str(error) or len(str(error)) > 2000:
                found.faults.append(
                    f"{target.name} {number}: no one-line error: {str(error)!r:.200}"
                )
        except Exception as error:
            found.faults.append(f"{target.name} {number}: {type(error).__name__}: {error!s:.200}")
        took = time.process_time() - started
        found.slowest_s = max(found.slowest_s, took)
        if took > LIMIT_S:
            found.faults.append(f"{target.name} {number}: {took:.1f} s")
        found.faults += [f"{target.name} {number}: {one}" for one in _VIOLATIONS]
        _VIOLATIONS.clear()
    mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found.most_mib = max(found.most_mib, mib)


def _in_child(target: Target, seed: int, numbers: range, work: Path, found: Found) -> None:
    """The same in a process that may die; then what is left of the numbers in another one."""
    result = work.parent / "work" / "result.json"
    while numbers:
        result.unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            _as_child(target, seed, numbers, work, result)
        _, status = os.waitpid(child, 0)
        if result.exists():
            said = json.loads(result.read_text())
            found.cases.update(said["cases"])
            found.refused.update(said["refused"])
            found.faults += said["faults"]
            found.slowest_s = max(found.slowest_s, said["slowest_s"])
            found.most_mib = max(found.most_mib, said["most_mib"])
            if said["most_mib"] > LIMIT_MIB:
                found.faults.append(f"{target.name} {numbers}: {said['most_mib']:.0f} MiB")
            return
        number = int((work / "now").read_text())
        how = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else "exit"
        found.faults.append(f"{target.name} {number}: ended the process ({how})")
        found.cases[target.name] += number - numbers.start + 1
        numbers = range(number + 1, numbers.stop)


def _as_child(target: Target, seed: int, numbers: range, work: Path, result: Path) -> None:
    code = 1
    try:
        # One that hangs inside a library ends here.
        limit = int(10 + LIMIT_S * len(numbers))
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
        found = Found()
        _batch(target, seed, numbers, work, found)
        result.write_text(json.dumps(asdict(found)))
        code = 0
    finally:
        os._exit(code)


_VIOLATIONS: list[str] = []
_WORK: list[Path | None] = [None]
_HOOKED: list[bool] = []


def _watch(work: Path | None) -> None:
    """Trap what is written outside a folder, and what loads a pickle; None ends it."""
    _WORK[0] = work
    if not _HOOKED:
        sys.addaudithook(_audit)
        _HOOKED.append(True)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    work = _WORK[0]
    if work is None:
        return
    if event == "pickle.find_class":
        _VIOLATIONS.append(f"a pickle asked for {arguments[0]}.{arguments[1]}")
    flags = arguments[2] if event == "open" and isinstance(arguments[2], int) else 0
    writes = event in _WRITES or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if writes and isinstance(arguments[0], str | bytes):
        path = Path(os.path.normpath(os.fsdecode(arguments[0])))
        unpacked = path.is_relative_to(tempfile.gettempdir()) and "lineside-bundle-" in str(path)
        if path.is_absolute() and not (
            path.is_relative_to(work) or unpacked or str(path) == "/dev/null"
        ):
            _VIOLATIONS.append(f"{event} {path}")


def main() -> None:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.basicConfig(level="INFO", format="%(message)s")
    from tests.runtime.tiny import reseal
    from tests.runtime.unwell import write_healthy_bundle

    with tempfile.TemporaryDirectory() as folder:
        bundle = write_healthy_bundle(Path(folder) / "bundle")
        reseal(bundle)
        found = fuzz(bundle, arguments.cases, arguments.seed)
    for name, count in found.cases.items():
        print(f"{name:14} {count:6} cases, {found.refused[name]:6} refused")
    for fault in found.faults:
        print(f"FAULT {fault}")
    print(
        f"{sum(found.cases.values())} cases, seed {arguments.seed}: {len(found.faults)} faults, "
        f"slowest {found.slowest_s:.2f} s, most {found.most_mib:.0f} MiB"
    )
    sys.exit(bool(found.faults))


if __name__ == "__main__":
    main()
