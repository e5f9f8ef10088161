"""``lineside archive``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from runtime.console import emit_json, fault_line, say
from runtime.options import engine_options, json_option, signature_option


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("pictures", type=click.Path(path_type=Path))
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Folder of the Parquet files."
)
@click.option(
    "--ray",
    metavar="local|ADDRESS",
    help="Share the work out on Ray: a process on each core of this machine, or a cluster "
    "(auto or HOST:PORT) whose machines see the pictures under the same paths.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Processes on Ray.  [default: one on each core]",
)
@click.option(
    "--column", default="path", show_default=True, help="The list's column with the paths."
)
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    default=500,
    show_default=True,
    help="Pictures of one Parquet file, and what a worker that dies costs.",
)
@click.option(
    "--again",
    is_flag=True,
    help="Do those again that could not be read or whose engine was at fault.",
)
@engine_options
@signature_option
@json_option
def command(
    bundle: Path,
    pictures: Path,
    out: Path,
    ray: str | None,
    workers: int | None,
    column: str,
    batch: int,
    again: bool,
    as_json: bool,
    **engine: Any,
) -> None:
    """Inspect an archive of pictures into Parquet files, on one core or on many machines.

    PICTURES is a folder, or a .parquet or .csv list with a column of paths. Each picture gets one
    row: path, verdict, raw and normalized score, threshold, descriptor, and the reason if it cannot
    be judged. What has a row is not done again: after Ctrl-C, a crash or new pictures the same
    command goes on. A worker that dies costs its batch, which another one does.

    Needs the extra ray: pip install 'lineside[ray]'. If pictures were unreadable, or an engine was
    at fault, the command exits with 1 at the end.

    \b
    Example:
      lineside archive tile-patchcore parts/tile --out results
      lineside archive tile-patchcore year.parquet --out results --ray local
    """
    from runtime.archive.run import inspect_archive
    from runtime.errors import require_extra

    require_extra("ray", "pyarrow")
    if workers is not None and ray is None:
        raise click.UsageError("--workers goes with --ray; type: --ray local")
    try:
        report = inspect_archive(
            bundle,
            pictures,
            out,
            engine=engine,  # type: ignore[arg-type]
            column=column,
            batch=batch,
            again=again,
            ray=ray,
            workers=workers,
        )
    except KeyboardInterrupt:
        say(f"{out}: finished files stay; the same command goes on from there")
        raise
    if as_json:
        emit_json(
            {
                "out": str(out),
                "pictures": report.total,
                "before": report.before,
                "verdicts": dict(report.verdicts),
                "unreadable": report.unreadable,
                "faults": report.faults,
                "seconds": round(report.seconds, 3),
            }
        )
    elif not report.done:
        click.echo(f"{out}: nothing to do, all of the {report.total} pictures have a result")
    else:
        rate = f", {report.done / report.seconds:.1f} a second" if report.seconds else ""
        click.echo(
            f"{out}: {report.done} of {report.total} pictures inspected{rate}, {report.before} had "
            f"a result\n{report.verdicts['good']} good, {report.verdicts['anomalous']} anomalous, "
            f"{report.verdicts['cannot_judge']} cannot be judged ({report.unreadable} unreadable)"
        )
    if report.faults:
        say(fault_line(report.faults))
    if report.unreadable or report.faults:
        sys.exit(1)
