"""``lineside store-export``: a store as JSON lines and pictures."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("store", metavar="STORE")
@click.argument("out", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--category", help="Only this kind of part.")
@click.option(
    "--bundle", help="Only this one: a bundle's folder, or the first characters of a fingerprint."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(store: str, out: Path, category: str | None, bundle: str | None, as_json: bool) -> None:
    """Write the parts of STORE, a folder or a server's address, to files that any program can read.

    OUT is a new folder, for parts.jsonl and thumbnails/, or a new file OUT.jsonl, with its pictures
    in OUT-thumbnails beside it. Each line is a part: id, descriptor and everything that is known of
    it. lineside store-import reads it back.

    \b
    Example:
      lineside store-export ./neighbours parts-2025
    """
    from edge_app.interchange import BATCH, exporting
    from edge_app.store import SearchFilter, open_store
    from edge_app.store.inventory import held_at
    from runtime.console import emit_json, say
    from runtime.progress import counting

    where = SearchFilter(category=category)
    with exporting(out) as export:
        for held in held_at(store, bundle):
            with (
                open_store(
                    store,
                    bundle=held.bundle,
                    embedding_length=held.embedding_length,
                    create=False,
                    timeout_s=30,
                ) as opened,
                counting(f"exporting {held.bundle[:8]}", opened.count(where)) as advance,
            ):
                for page in opened.scroll(where, BATCH):
                    export.write(page)
                    advance(len(page))
    report = export.report
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
