"""``lineside prune``: let the oldest parts of a store go."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import click

if TYPE_CHECKING:
    from edge_app.retention import Limits, PruneReport
    from edge_app.store.edge import EdgeStore
    from edge_app.store.inventory import Held

# Less than other commands leave free: this is the one to run on a disk that is nearly full.
_RESERVE_MIB = 16


@click.command()
@click.argument("store", metavar="STORE")
@click.option(
    "--max-parts", type=click.IntRange(0), help="Keep at most so many parts of each category."
)
@click.option("--max-days", type=click.FloatRange(0), help="Keep parts at most so many days.")
@click.option(
    "--max-mib",
    type=click.FloatRange(0),
    help="Keep at most so many MiB of parts of each category.",
)
@click.option("--category", help="Only this kind of part.")
@click.option(
    "--bundle", help="Only this one: a bundle's folder, or the first characters of a fingerprint."
)
@click.option("--dry-run", is_flag=True, help="Say what would be removed and remove nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    store: str,
    max_parts: int | None,
    max_days: float | None,
    max_mib: float | None,
    category: str | None,
    bundle: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Remove the oldest parts until STORE keeps to the limits, and give their space back to the disk.

    The limits are for each category of each bundle. Parts with an operator's word always stay,
    whatever the limit. STORE is a folder or a server's address. A folder can be open in one process
    only: stop the page or other commands that have it open first. A server goes on answering
    meanwhile.

    \b
    Example:
      lineside prune ./neighbours --max-parts 20000 --max-days 90 --dry-run
    """
    from edge_app.retention import Limits
    from edge_app.store.inventory import held_at
    from runtime.console import emit_json, printable

    limits = Limits(max_parts, max_days, max_mib)
    if any(value is not None and not math.isfinite(value) for value in (max_days, max_mib)):
        raise click.UsageError("--max-days and --max-mib: expected numbers, found one that is none")
    if limits == Limits():
        raise click.UsageError("give at least one of --max-parts, --max-days and --max-mib")
    rows, freed = [], 0
    for held in held_at(store, bundle):
        report, freed_here = _prune_one(store, held, limits, category, dry_run=dry_run)
        freed += freed_here
        rows += [
            {
                "bundle": held.bundle,
                "category": name,
                "removed": report.removed[name],
                "kept": report.kept[name],
                "confirmed": report.confirmed[name],
            }
            for name in report.removed
        ]
    removed, kept = (sum(int(str(row[key])) for row in rows) for key in ("removed", "kept"))
    if as_json:
        emit_json(
            {
                "store": store,
                "dry_run": dry_run,
                "removed": removed,
                "kept": kept,
                "freed_mib": round(freed / 2**20, 1),
                "categories": rows,
            }
        )
        return
    for row in rows:
        click.echo(
            f"{printable(str(row['category']))} ({str(row['bundle'])[:8]}): {row['removed']} "
            f"removed, {row['kept']} kept, "
            f"{row['confirmed']} of them with an operator's word"
        )
    would = "would be " if dry_run else ""
    click.echo(
        f"{store}: {removed} parts {would}removed, {kept} kept, {freed / 2**20:.1f} MiB given "
        "back to the disk"
    )


def _prune_one(
    store: str, held: Held, limits: Limits, category: str | None, *, dry_run: bool
) -> tuple[PruneReport, int]:
    from edge_app.retention import prune
    from edge_app.store import open_store
    from edge_app.store.location import is_server
    from runtime.progress import counting

    with (
        open_store(
            store,
            bundle=held.bundle,
            embedding_length=held.embedding_length,
            create=False,
            reserve_mib=_RESERVE_MIB,
        ) as opened,
        counting(f"pruning {held.bundle[:8]}", opened.count()) as advance,
    ):
        report = prune(
            opened,
            limits,
            category=category,
            dry_run=dry_run,
            advance=advance,
        )
        # A server gives space back by itself.
        if dry_run or not report.removed_total or is_server(store):
            return report, 0
        return report, _give_back(cast("EdgeStore", opened), report.removed_total)


def _give_back(opened: EdgeStore, removed: int) -> int:
    """Let a folder shrink."""
    from runtime.console import say
    from runtime.errors import StoreError

    before = int(opened.disk_bytes())
    try:
        opened.shrink(removed)
    except StoreError as error:
        # The parts are gone, and what comes next takes their place; only the files stay as large as
        # they are.
        say(f"the parts are removed, but the files do not shrink: {error}")
    return max(0, before - int(opened.disk_bytes()))
