"""Inspect what has no result yet, here or on Ray, and write each batch when it is done."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.archive.listing import pictures_of
from runtime.archive.results import Results, identity_of, table_of
from runtime.bundle.folder import Bundle
from runtime.bundle.signing import check_signature
from runtime.engines.base import EngineOptions, available_cores
from runtime.inspector import Inspector
from runtime.pipeline import inspect_all
from runtime.progress import counting

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger("lineside")

BATCH = 500


@dataclass
class Report:
    """What an archive's run has done.

    Attributes:
        total: pictures of the archive.
        before: of these, those that had a result.
        verdicts: how many of this run have which.
        unreadable: pictures of this run that cannot be read.
        faults: pictures of this run that no picture is to blame for.
        seconds: wall clock from the first picture on, without the start of the workers.
    """

    total: int
    before: int
    verdicts: Counter[str] = field(default_factory=Counter)
    unreadable: int = 0
    faults: int = 0
    seconds: float = 0.0

    @property
    def done(self) -> int:
        """Pictures of this run."""
        return self.verdicts.total()

    def count(self, table: pa.Table) -> None:
        """Add the rows of a batch."""
        self.verdicts.update(table["verdict"].to_pylist())
        self.unreadable += table["unreadable"].to_pylist().count(True)
        self.faults += table["fault"].to_pylist().count(True)


def inspect_archive(
    bundle: Path,
    source: Path,
    out: Path,
    *,
    engine: EngineOptions,
    column: str = "path",
    batch: int = BATCH,
    again: bool = False,
    ray: str | None = None,
    workers: int | None = None,
) -> Report:
    """Inspect every picture of an archive that has no result yet.

    Every picture stands in the result once, those that cannot be read or judged with the reason.
    Results are written by this process alone, a file for a batch: killed or interrupted, the same
    call goes on from the last file.

    Args:
        bundle: as for :class:`Inspector`.
        source: a folder, or a Parquet or CSV list.
        out: folder of the results.
        engine: as for :class:`Inspector`; ``threads`` are those of one worker.
        column: the list's column of paths.
        batch: pictures of one result file, and what a worker that dies costs.
        again: do those again that could not be read or had a fault.
        ray: ``local`` for a Ray of this machine, or the address of a cluster; None for none.
        workers: processes on Ray; None for one on each core.

    Raises:
        DataError: no pictures, or ``out`` holds something else.
        BundleError: the bundle is unusable.
        EngineError: the engine or Ray is not available.
        MissingExtraError: pyarrow or Ray is not installed.
    """
    import pyarrow.compute as pc

    with Bundle.open(bundle) as opened:
        signed_by, name = engine.get("signed_by"), engine.get("engine", "openvino")
        variant = opened.manifest.variant(
            name if isinstance(name, str) else None, engine.get("precision", "fp32")
        )
        length = opened.manifest.outputs.embedding_length
        pictures = pictures_of(source, column)
        with Results(out, identity_of(opened, variant)) as results:
            if again and (forgotten := results.forget_failed()):
                log.info(f"{out}: {forgotten} results without a verdict are made again")
            left = pictures.filter(pc.invert(pc.is_in(pictures, value_set=_one(results.done()))))
            report = Report(len(pictures), len(pictures) - len(left))
            if not len(left):
                return report
            batches = _batches(left, batch)
            if ray is None:
                tables = _here(opened, batches, length, engine)
            else:
                from runtime.archive.on_ray import on_ray

                if signed_by:
                    check_signature(opened, Path(signed_by))
                tables = on_ray(opened, batches, length, engine, ray, workers)
            with closing(tables), counting("inspecting", len(left)) as add:
                begun = time.perf_counter()
                for table in tables:
                    if table is None:
                        begun = time.perf_counter()
                        continue
                    results.write(table)
                    report.count(table)
                    report.seconds = time.perf_counter() - begun
                    add(table.num_rows)
    return report


def _one(done: pa.ChunkedArray) -> pa.Array:
    import pyarrow as pa

    return done.combine_chunks() if done.num_chunks else pa.array([], pa.large_string())


def _batches(pictures: pa.ChunkedArray, size: int) -> Iterator[list[str]]:
    for start in range(0, len(pictures), size):
        yield pictures.slice(start, size).to_pylist()


def _here(
    bundle: Bundle, batches: Iterator[list[str]], length: int, engine: EngineOptions
) -> Generator[pa.Table | None]:
    """In this process, a stream on each core: the pipeline of ``lineside inspect``."""
    cpu = engine.get("device", "CPU") == "CPU"
    streams = (engine.get("threads") or available_cores()) if cpu else 1
    with Inspector(bundle, **engine, streams=streams) as inspector:
        yield None
        for batch in batches:
            found = inspect_all(inspector, batch, Path)
            yield table_of(found, length)
