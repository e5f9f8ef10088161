"""``lineside store-export``: a store as JSON lines and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from runtime.options import json_option

if TYPE_CHECKING:
    from edge_app.interchange import ExportReport


@click.command()
@click.argument("store", metavar="STORE")
@click.argument("out", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--category", help="Only this kind of part.")
@click.option(
    "--bundle", help="Only this one: a bundle's folder, or the first characters of a fingerprint."
)
@json_option
def command(store: str, out: Path, category: str | None, bundle: str | None, as_json: bool) -> None:
    """Write the parts of STORE, a folder or a server's address, to files that any program can read.

    OUT is a new folder, for parts.jsonl and thumbnails/, or a new file OUT.jsonl, with its pictures
    in OUT-thumbnails beside it. Each line is a part: id, descriptor and everything that is known of
    it. lineside store-import reads it back.

    \b
    Example:
      lineside store-export ./neighbours parts-2025
    """
    from runtime.console import emit_json, say

    report = export_location(store, out, category=category, bundle=bundle)
    for identifier in report.without_thumbnail:
        say(f"part {identifier}: its thumbnail is damaged and was left out")
    for identifier, reason in report.skipped:
        say(f"part {identifier} is left out: {reason}")
    if as_json:
        emit_json(
            {
                "store": store,
                "out": str(out),
                "parts": report.parts,
                "thumbnails": report.thumbnails,
                "without_thumbnail": report.without_thumbnail,
                "skipped": [identifier for identifier, _ in report.skipped],
            }
        )
        return
    click.echo(f"{out}: {report.parts} parts and {report.thumbnails} thumbnails written")


def export_location(
    location: str, out: Path, *, category: str | None = None, bundle: str | None = None
) -> ExportReport:
    """Write the parts of every bundle at a location to files.

    Args:
        location: a folder or a server.
        out: a new folder or file, see :func:`edge_app.interchange.exporting`.
        category: only this kind of part.
        bundle: a bundle's folder or the first characters of a fingerprint, to choose one.

    Raises:
        DataError: something is at ``out``.
        StoreError: there is no such store, or it cannot be read.
    """
    from edge_app.interchange import BATCH, exporting
    from edge_app.store import SearchFilter, open_store
    from edge_app.store.inventory import held_at
    from runtime.progress import counting

    where = SearchFilter(category=category)
    with exporting(out) as export:
        for held in held_at(location, bundle):
            with (
                open_store(
                    location,
                    bundle=held.bundle,
                    embedding_length=held.embedding_length,
                    create=False,
                    timeout_s=30,
                ) as store,
                counting(f"exporting {held.bundle[:8]}", store.count(where)) as advance,
            ):
                for page in store.scroll(where, BATCH):
                    export.write(page)
                    advance(len(page))
    return export.report
