"""Several trainings beside each other, each in a process of its own on Ray."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.archive.cluster import connected
from runtime.bundle.folder import MANIFEST_FILE
from runtime.errors import DataError, LinesideError, sentence
from runtime.images.dataset import list_categories

log = logging.getLogger("lineside")

# A job whose process dies is tried so many times more.
RETRIES = 1


@dataclass(frozen=True)
class Job:
    """A command of ours.

    Attributes:
        name: what it is about.
        arguments: as typed after ``lineside``.
    """

    name: str
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class Done:
    """What came of a job.

    Attributes:
        name: of the job.
        problem: why it failed, in one sentence; empty if it did not.
        seconds: that it took.
    """

    name: str
    problem: str
    seconds: float


def trainings(
    data: Path, out: Path, categories: Sequence[str], options: Sequence[str]
) -> tuple[list[Job], list[str]]:
    """The trainings that are to be done, and the categories whose bundles are there already.

    Args:
        data: folder with a folder for each category.
        out: folder of the bundles, each named as its category.
        categories: these alone; none for all.
        options: of ``lineside train``.

    Raises:
        DataError: no categories, or one that is not there.
    """
    there = list_categories(data)
    missing = sorted(set(categories) - set(there))
    if missing or not there:
        raise DataError(
            f"{data}: expected {missing[0] if missing else 'folders of categories'}, found "
            f"{', '.join(there) or 'none'}; check --data"
        )
    jobs, before = [], []
    for name in categories or there:
        bundle = out / name
        if (bundle / MANIFEST_FILE).is_file():
            before.append(name)
            continue
        where = ("--data", str(data.absolute()), "--category", name)
        jobs.append(Job(name, ("train", *where, "--out", str(bundle.absolute()), *options)))
    return jobs, before


def run(job: Job) -> Done:
    """Run a job in this process."""
    from runtime.cli import cli

    begun, problem = time.monotonic(), ""
    try:
        cli.main(list(job.arguments), standalone_mode=False)
    except (LinesideError, OSError) as error:
        problem = sentence(error)
    except SystemExit as stop:
        problem = f"it ended with {stop.code}" if stop.code else ""
    except Exception as error:
        # Of click, torch or a model: one job that fails is no reason for the others to.
        problem = str(getattr(error, "message", "")) or sentence(error)
    return Done(job.name, problem, time.monotonic() - begun)


def run_many(jobs: Sequence[Job], address: str, cores: int) -> Iterator[Done]:
    """Run jobs beside each other, as many as there are cores for.

    A job whose process dies is tried again, once, and costs the others nothing.

    Args:
        jobs: commands that every machine of the cluster can run: data and targets have to be on
            disks that all of them see.
        address: ``local``, ``auto`` or HOST:PORT.
        cores: of one job.

    Yields:
        What came of each, as soon as it is done.

    Raises:
        EngineError: Ray does not start or answer.
    """
    with connected(address, 0) as ray:
        task = ray.remote(run).options(num_cpus=cores, max_retries=RETRIES)
        waiting = {task.remote(job): job for job in jobs}
        begun = time.monotonic()
        while waiting:
            (ready, *_), _ = ray.wait(list(waiting), num_returns=1)
            job = waiting.pop(ready)
            try:
                yield ray.get(ready)
            except ray.exceptions.RayError as error:
                why = f"its process died {RETRIES + 1} times: {type(error).__name__}"
                yield Done(job.name, why, time.monotonic() - begun)
