"""``lineside store-import``: parts from JSON lines and pictures into a store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from runtime.options import json_option

if TYPE_CHECKING:
    from edge_app.store import NeighborStore


@click.command()
@click.argument("source", metavar="SOURCE", type=click.Path(path_type=Path))
@click.argument("store", metavar="STORE")
@json_option
def command(source: Path, store: str, as_json: bool) -> None:
    """Read what lineside store-export wrote to SOURCE into STORE.

    STORE is a folder or a server's address. Parts that it has already stay as they are; of two
    words on the same part the newest wins. Every line is checked: one that is no part is named with
    its number and skipped, and the command ends with exit code 1 after the last.

    \b
    Example:
      lineside store-import parts-2025 ./neighbours
    """
    from edge_app.interchange import ImportReport, import_parts, source_file
    from edge_app.store import open_store
    from runtime.console import emit_json, say
    from runtime.progress import counting

    def open_for(bundle: str, length: int) -> NeighborStore:
        return open_store(store, bundle=bundle, embedding_length=length, timeout_s=30)

    file, report = source_file(source), ImportReport()
    try:
        with counting("importing", file.stat().st_size) as advance:
            import_parts(source, open_for, report=report, advance=advance)
    except KeyboardInterrupt:
        say(
            f"{store}: {report.merged.added} parts added so far; the same command goes on from "
            "there"
        )
        raise
    for number, reason in report.skipped:
        say(f"{file}: line {number}: {reason}; skipped")
    merged = report.merged
    if as_json:
        emit_json(
            {
                "source": str(source),
                "store": store,
                "added": merged.added,
                "words": merged.words,
                "unchanged": merged.unchanged,
                "skipped": [{"line": number, "reason": why} for number, why in report.skipped],
            }
        )
    else:
        click.echo(
            f"{store}: {merged.added} parts added, {merged.words} words renewed, "
            f"{merged.unchanged} there already, {len(report.skipped)} lines skipped"
        )
    if report.skipped:
        raise click.exceptions.Exit(1)
