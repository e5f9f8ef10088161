"""``lineside index``: fill a neighbour store with inspected parts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runtime.options import engine_options, json_option, store_option

if TYPE_CHECKING:
    from edge_app.indexing import IndexReport


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--images",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder of pictures, searched in depth.",
)
@store_option
@click.option("--camera", default="", help="Name of the camera, stored with every part.")
@engine_options
@json_option
def command(location: str, as_json: bool, **options: Any) -> None:
    """Inspect the pictures below a folder and store them, so that later parts find them.

    Folders named as in MVTec AD (test/<defect>, train/good) give the names of the defects; masks
    are left out. Parts that the store has already stay as they are. A picture that cannot be read
    is named and skipped.

    \b
    Example:
      lineside index tile-patchcore --images parts/tile/test --store ./neighbours
    """
    from runtime.console import emit_json, say

    indexed = index_folder(location=location, **options)
    report = indexed.report
    for path, reason in report.skipped:
        say(f"skipped {path}: {reason}")
    if as_json:
        emit_json(
            {
                "store": location,
                "bundle": indexed.bundle,
                "stored": report.stored_total,
                "verdicts": report.stored,
                "unchanged": report.unchanged,
                "skipped": [{"path": str(path), "reason": why} for path, why in report.skipped],
                "total": indexed.total,
            }
        )
        return
    verdicts = ", ".join(f"{number} {verdict}" for verdict, number in sorted(report.stored.items()))
    click.echo(
        f"{location}: {report.stored_total} parts stored{f' ({verdicts})' if verdicts else ''}, "
        f"{report.unchanged} there already, {len(report.skipped)} skipped; it holds "
        f"{indexed.total} now"
    )


@dataclass(frozen=True)
class Indexed:
    """A report, the bundle's fingerprint, and how many of its parts the store holds now."""

    bundle: str
    total: int
    report: IndexReport


def index_folder(
    bundle: Path, images: Path, location: str, *, camera: str = "", **engine: Any
) -> Indexed:
    """Inspect the pictures below a folder into a store; interrupted, it keeps what it has.

    Raises:
        DataError: the folder is missing or holds no picture of a part.
        BundleError: the bundle is unusable.
        StoreError: the store cannot be opened or written.
    """
    from edge_app.indexing import IndexReport, find_parts, index_parts
    from edge_app.line import open_memory
    from runtime.console import say
    from runtime.inspector import Inspector
    from runtime.progress import track

    parts, report = track(find_parts(images), "indexing"), IndexReport()
    with Inspector(bundle, **engine) as inspector, open_memory(inspector, location) as store:
        try:
            index_parts(inspector, parts, store, bundle=store.bundle, camera=camera, report=report)
            total = store.count()
            store.optimize()
        except KeyboardInterrupt:
            say(
                f"{location}: it holds {store.count()} parts now; the same command goes on from "
                "there"
            )
            raise
        return Indexed(store.bundle, total, report)
