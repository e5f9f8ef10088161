"""``lineside sync``: bring a box's store and a shared server together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from edge_app.sync import SyncReport


@click.command()
@click.argument("store", metavar="STORE")
@click.argument("url", metavar="URL")
@click.option(
    "--bundle", help="Only this one: a bundle's folder, or the first characters of a fingerprint."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(store: str, url: str, bundle: str | None, as_json: bool) -> None:
    """Catch up with a server: push what is new in the folder STORE to the Qdrant server at URL, pull what others confirmed.

    All bundles in STORE are compared, each with its own collection. Parts with an operator's word
    come back from the server, and of two words on the same part the newest wins on both sides.
    Nothing is lost or doubled if the network breaks or Ctrl-C is pressed: the same command goes on.
    A box that has no part of a bundle yet names its folder with --bundle. The API key of the server
    comes from the environment variable QDRANT_API_KEY.

    \b
    Example:
      lineside sync ./neighbours http://10.0.0.5:6333
    """
    from edge_app.store.inventory import Held, held_at, held_of
    from edge_app.store.location import is_server
    from edge_app.sync import SyncReport
    from runtime.console import emit_json, say
    from runtime.errors import StoreError

    if is_server(store) or not is_server(url):
        raise StoreError(
            f"sync: expected a folder and then a server such as http://HOST:6333, found {store!r} "
            f"and {url!r}; "
            "type: lineside sync ./neighbours http://HOST:6333"
        )
    # A folder names a bundle of which the box may have nothing yet.
    named = bundle is not None and Path(bundle).exists()
    chosen: list[Held] = [held_of(Path(str(bundle)))] if named else held_at(store, bundle)
    done: dict[str, SyncReport] = {held.bundle: SyncReport() for held in chosen}
    try:
        for held in chosen:
            _sync_one(store, url, held.bundle, held.embedding_length, done[held.bundle])
    except (KeyboardInterrupt, StoreError):
        say(f"{_summary(store, url, done.values())} so far; the same command goes on from there")
        raise
    if not as_json:
        click.echo(_summary(store, url, done.values()))
        return
    emit_json(
        {
            "store": store,
            "server": url,
            **asdict(sum(done.values(), SyncReport())),
            "bundles": [{"bundle": name, **asdict(report)} for name, report in done.items()],
        }
    )


def _sync_one(store: str, url: str, bundle: str, embedding_length: int, report: SyncReport) -> None:
    from edge_app.store import open_store
    from edge_app.sync import PAUSES_S, TIMEOUT_S, expected_steps, sync
    from runtime.progress import counting

    with (
        open_store(store, bundle=bundle, embedding_length=embedding_length) as box,
        open_store(
            url,
            bundle=bundle,
            embedding_length=embedding_length,
            pauses_s=PAUSES_S,
            timeout_s=TIMEOUT_S,
        ) as server,
        counting(f"catching up {bundle[:8]}", expected_steps(box, server)) as advance,
    ):
        sync(box, server, report=report, advance=advance)
        box.optimize()


def _summary(store: str, url: str, reports: Iterable[SyncReport]) -> str:
    from edge_app.sync import SyncReport

    total = sum(reports, SyncReport())
    return (
        f"{store} and {url}: {total.pushed} parts pushed, {total.pulled} pulled, "
        f"{total.words_pushed} words pushed, "
        f"{total.words_pulled} pulled, {total.unchanged} alike"
        + (f", {total.unusable} on the server that are no parts of ours" if total.unusable else "")
    )
