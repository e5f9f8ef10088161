"""An archive on Ray beside the pipeline of one process, on the same cores.

    python -m benchmarks.archive tile-patchcore --images parts/tile [--pictures 2000] [--rounds 3]

The pictures are links to those of the folder, as many as asked for. Rates count from the first
picture on, when Ray is up and the model compiled. Processor time is that of this process and all
below it, from the first batch on: it says nearly the same on a machine that is busy otherwise.
Then what one process has to do for all workers is measured by itself: to write a batch, and to
leave out what is done already. From these parts comes how far it grows.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from runtime import progress
from runtime.archive.results import Results, identity_of, table_of
from runtime.archive.run import BATCH, inspect_archive
from runtime.bundle.folder import Bundle
from runtime.engines.base import available_cores
from runtime.images.dataset import list_images
from runtime.inspector import Inspector
from runtime.pipeline import inspect_all

PATHS = 1_000_000
WORKERS, ARCHIVE = 100, 100_000_000


@click.command(help=__doc__)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--images", required=True, type=click.Path(path_type=Path), help="Folder of pictures."
)
@click.option("--pictures", default=2000, show_default=True, help="Number of pictures.")
@click.option("--rounds", default=3, show_default=True, help="Turns of each contestant.")
def main(bundle: Path, images: Path, pictures: int, rounds: int) -> None:
    """Time both in turn, then the parts that do not grow with the workers."""
    with tempfile.TemporaryDirectory(dir=images.parent) as name:
        folder = Path(name) / "archive"
        linked(list_images(images), folder, pictures)
        contestants: dict[str, Callable[[], dict[str, float]]] = {
            "pipeline": partial(in_one_process, bundle, folder),
            "archive": partial(as_archive, bundle, folder, Path(name) / "out", None),
            "archive on Ray": partial(as_archive, bundle, folder, Path(name) / "out", "local"),
        }
        found: dict[str, list[dict[str, float]]] = {name: [] for name in contestants}
        for _ in range(rounds):
            for title, call in contestants.items():
                found[title].append(call())
        medians = {
            title: {key: float(np.median([one[key] for one in turns])) for key in turns[0]}
            for title, turns in found.items()
        }
        for title, row in medians.items():
            ratio = row["images_per_second"] / medians["pipeline"]["images_per_second"]
            said = {key: round(value, 2) for key, value in row.items()}
            click.echo(json.dumps({"contestant": title, **said, "ratio": round(ratio, 3)}))
        rate = medians["archive on Ray"]["images_per_second"] / available_cores()
        parts = of_one_process(bundle, folder, Path(name) / "written")
        click.echo(json.dumps({"part": "one process", **parts}))
        click.echo(json.dumps(on_paper(rate, parts)))


def linked(paths: list[Path], folder: Path, number: int) -> None:
    """A folder of so many pictures."""
    folder.mkdir()
    for index in range(number):
        path = paths[index % len(paths)]
        (folder / f"{index:06d}{path.suffix}").hardlink_to(path)


def in_one_process(bundle: Path, folder: Path) -> dict[str, float]:
    """The pipeline of ``lineside inspect``, a stream on each core."""
    start, paths = time.perf_counter(), list_images(folder)
    with Inspector(bundle, streams=available_cores()) as inspector:
        begun, before = time.perf_counter(), processor_s()
        done = sum(1 for _ in inspect_all(inspector, paths, lambda path: path))
        end = time.perf_counter()
    return {
        "images_per_second": done / (end - begun),
        "start_s": begun - start,
        "processor_ms": 1000 * (processor_s() - before) / done,
    }


def as_archive(bundle: Path, folder: Path, out: Path, ray: str | None) -> dict[str, float]:
    """The same into Parquet files."""
    shutil.rmtree(out, ignore_errors=True)
    start, seen = time.perf_counter(), list[tuple[float, float]]()

    def look(step: progress.Step) -> None:
        if step.what == "inspecting" and step.done and not step.ended:
            seen.append((step.done, processor_s()))

    with progress.listening(look):
        report = inspect_archive(bundle, folder, out, engine={}, batch=50, ray=ray)
    whole = time.perf_counter() - start
    (first, before), (last, after) = seen[0], seen[-1]
    return {
        "images_per_second": report.done / report.seconds,
        "start_s": whole - report.seconds,
        "processor_ms": 1000 * (after - before) / (last - first),
    }


def processor_s() -> float:
    """Seconds of this process and of all below it that live, of Linux."""
    times, parents = dict[int, float](), dict[int, int]()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The name, in brackets, may hold blanks.
            fields = path.read_text().rpartition(")")[2].split()
            pid = int(path.parent.name)
            parents[pid], times[pid] = int(fields[1]), int(fields[11]) + int(fields[12])
    ours, ticks = {os.getpid()}, os.sysconf("SC_CLK_TCK")
    while new := {pid for pid, parent in parents.items() if parent in ours} - ours:
        ours |= new
    return sum(times[pid] for pid in ours) / ticks


def of_one_process(bundle: Path, folder: Path, out: Path) -> dict[str, Any]:
    """What the one writing process takes: a batch, and a million paths to leave out."""
    import pyarrow as pa
    import pyarrow.compute as pc

    with Bundle.open(bundle) as opened, Inspector(opened) as inspector:
        length = opened.manifest.outputs.embedding_length
        paths = [str(path) for path in list_images(folder)[:BATCH]]
        found = [(path, inspector.inspect(Path(path))) for path in paths]
        table = distinct(table_of(found, length), length)
        with Results(out, identity_of(opened, inspector.variant)) as results:
            times = []
            for _ in range(20):
                start = time.perf_counter()
                size = results.write(table).stat().st_size
                times.append(time.perf_counter() - start)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    names = [f"/archive/2026/line-1/{index // 1000:06d}/{index:09d}.png" for index in range(PATHS)]
    known = pa.array(names, pa.large_string())
    start = time.perf_counter()
    left = known.filter(pc.invert(pc.is_in(known, value_set=known.slice(0, PATHS // 2))))
    seconds = time.perf_counter() - start
    if len(left) != PATHS - PATHS // 2:
        raise RuntimeError(f"expected half of the paths, found {len(left)}")
    return {
        "write_ms": round(1000 * float(np.median(times)), 1),
        "rows": table.num_rows,
        "bytes_a_row": round(size / table.num_rows),
        "leave_out_s_a_million": round(seconds, 2),
        "path_bytes": round(known.nbytes / PATHS),
        "peak_mib": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10,
    }


def distinct(table: Any, length: int) -> Any:
    """With descriptors of its own for each row, for the pictures are links to a few."""
    import pyarrow as pa

    drawn = np.random.default_rng(0).normal(size=(table.num_rows, length)).astype(np.float32)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    column = pa.FixedSizeListArray.from_arrays(pa.array(drawn.ravel()), length)
    return table.set_column(table.column_names.index("embedding"), "embedding", column)


def on_paper(rate_of_a_core: float, parts: dict[str, Any]) -> dict[str, Any]:
    """A hundred workers and a hundred million pictures."""
    writes = 1000 * parts["rows"] / parts["write_ms"]
    together = min(WORKERS * rate_of_a_core, writes)
    return {
        "workers": WORKERS,
        "pictures": ARCHIVE,
        "images_per_second": round(together, 1),
        "writer_busy": round(WORKERS * rate_of_a_core / writes, 3),
        "hours": round(ARCHIVE / together / 3600, 1),
        "results_gb": round(ARCHIVE * parts["bytes_a_row"] / 1e9, 1),
        "start_again_s": round(ARCHIVE / 1e6 * parts["leave_out_s_a_million"]),
        "paths_gb": round(ARCHIVE * parts["path_bytes"] / 1e9, 1),
    }


if __name__ == "__main__":
    main()
