"""``lineside prune``: let the oldest parts of a store go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import click

from runtime.options import FiniteRange, json_option

if TYPE_CHECKING:
    from edge_app.retention import Limits, PruneReport
    from edge_app.store.edge import EdgeStore

# Less than other commands leave free: this is the one to run on a disk that is nearly full.
_RESERVE_MIB = 16


@click.command()
@click.argument("store", metavar="STORE")
@click.option(
    "--max-parts", type=click.IntRange(0), help="Keep at most so many parts of each category."
)
@click.option("--max-days", type=FiniteRange(0), help="Keep parts at most so many days.")
@click.option(
    "--max-mib", type=FiniteRange(0), help="Keep at most so many MiB of parts of each category."
)
@click.option("--category", help="Only this kind of part.")
@click.option(
    "--bundle", help="Only this one: a bundle's folder, or the first characters of a fingerprint."
)
@click.option("--dry-run", is_flag=True, help="Say what would be removed and remove nothing.")
@json_option
def command(
    store: str,
    max_parts: int | None,
    max_days: float | None,
    max_mib: float | None,
    as_json: bool,
    **which: Any,
) -> None:
    """Remove the oldest parts until STORE keeps to the limits, and give the disk their space.

    The limits are for each category of each bundle. Parts with an operator's word always stay,
    whatever the limit. STORE is a folder or a server's address; what has it open goes on meanwhile.

    \b
    Example:
      lineside prune ./neighbours --max-parts 20000 --max-days 90 --dry-run
    """
    from edge_app.retention import Limits
    from runtime.console import emit_json, printable

    limits = Limits(max_parts, max_days, max_mib)
    if limits == Limits():
        raise click.UsageError("give at least one of --max-parts, --max-days and --max-mib")
    reports, freed = prune_location(store, limits, **which)
    rows: list[dict[str, Any]] = [
        {
            "bundle": fingerprint,
            "category": name,
            "removed": report.removed[name],
            "kept": report.kept[name],
            "confirmed": report.confirmed[name],
        }
        for fingerprint, report in reports.items()
        for name in report.removed
    ]
    total = {key: sum(row[key] for row in rows) for key in ("removed", "kept")}
    freed_mib = freed / 2**20
    if as_json:
        whole = {"store": store, "dry_run": which["dry_run"], **total}
        emit_json({**whole, "freed_mib": round(freed_mib, 1), "categories": rows})
        return
    for row in rows:
        click.echo(
            f"{printable(row['category'])} ({row['bundle'][:8]}): {row['removed']} removed, "
            f"{row['kept']} kept, {row['confirmed']} of them with an operator's word"
        )
    would = "would be " if which["dry_run"] else ""
    click.echo(
        f"{store}: {total['removed']} parts {would}removed, {total['kept']} kept, "
        f"{freed_mib:.1f} MiB given back to the disk"
    )


def prune_location(
    location: str,
    limits: Limits,
    *,
    bundle: str | None = None,
    category: str | None = None,
    dry_run: bool = False,
) -> tuple[dict[str, PruneReport], int]:
    """Prune the stores of a location, and let a folder shrink; a server does so by itself.

    Args:
        location: a folder or a server.
        limits: what to keep of each category of each bundle.
        bundle: a bundle's folder or the first characters of a fingerprint, to choose one.
        category: only this kind of part.
        dry_run: True to remove nothing.

    Returns:
        what was removed, by fingerprint, and the bytes given back to the disk.

    Raises:
        StoreError: there is no such store, or it cannot be read or written.
    """
    from edge_app.retention import prune
    from edge_app.store import open_store
    from edge_app.store.inventory import held_at
    from edge_app.store.location import is_server
    from runtime.progress import counting

    reports: dict[str, PruneReport] = {}
    freed = 0
    for held in held_at(location, bundle):
        with open_store(
            location,
            bundle=held.bundle,
            embedding_length=held.embedding_length,
            create=False,
            reserve_mib=_RESERVE_MIB,
        ) as store:
            with counting(f"pruning {held.bundle[:8]}", store.count()) as advance:
                report = prune(store, limits, category=category, dry_run=dry_run, advance=advance)
            if report.removed_total and not dry_run and not is_server(location):
                freed += _give_back(cast("EdgeStore", store), report.removed_total)
        reports[held.bundle] = report
    return reports, freed


def _give_back(store: EdgeStore, removed: int) -> int:
    """Let a folder shrink; returns by how many bytes it has."""
    from runtime.console import say
    from runtime.errors import StoreError

    before = store.disk_bytes()
    try:
        store.shrink(removed)
    except StoreError as error:
        # The parts are gone, and what comes next takes their place; only the files stay as large as
        # they are.
        say(f"the parts are removed, but the files do not shrink: {error}")
    return max(0, before - store.disk_bytes())
