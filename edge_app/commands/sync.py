"""``lineside sync``: bring a box's store and a shared server together."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runtime.options import json_option

if TYPE_CHECKING:
    from edge_app.catching_up import SyncReport


@click.command()
@click.argument("store", metavar="STORE")
@click.argument("url", metavar="URL")
@click.option(
    "--bundle", help="Only this one: a bundle's folder, or the first characters of a fingerprint."
)
@json_option
def command(store: str, url: str, bundle: str | None, as_json: bool) -> None:
    """Push what is new in STORE to the Qdrant server at URL, and pull what others confirmed.

    STORE is a folder; all bundles in it are compared, each with its own collection. Parts with an
    operator's word come back from the server, and of two words on the same part the newest wins on
    both sides. Nothing is lost or doubled if the network breaks or Ctrl-C is pressed: the same
    command goes on. A box that has no part of a bundle yet names its folder with --bundle. The API
    key of the server comes from the environment variable QDRANT_API_KEY.

    \b
    Example:
      lineside sync ./neighbours http://10.0.0.5:6333
    """
    from edge_app.catching_up import SyncReport
    from runtime.console import emit_json, say
    from runtime.errors import StoreError

    done: dict[str, SyncReport] = {}
    try:
        sync_location(store, url, bundle, done)
    except (KeyboardInterrupt, StoreError):
        if done:
            say(f"{_summary(store, url, done)} so far; the same command goes on from there")
        raise
    if not as_json:
        click.echo(_summary(store, url, done))
        return
    emit_json(
        {
            "store": store,
            "server": url,
            **asdict(sum(done.values(), SyncReport())),
            "bundles": [{"bundle": name, **asdict(report)} for name, report in done.items()],
        }
    )


def _summary(store: str, url: str, done: dict[str, SyncReport]) -> str:
    from edge_app.catching_up import SyncReport

    total = sum(done.values(), SyncReport())
    unusable = f", {total.unusable} on the server that are no parts of ours"
    return (
        f"{store} and {url}: {total.pushed} parts pushed, {total.pulled} pulled, "
        f"{total.words_pushed} words pushed, {total.words_pulled} pulled, {total.unchanged} alike"
        f"{unusable if total.unusable else ''}"
    )


def sync_location(store: str, url: str, bundle: str | None, done: dict[str, SyncReport]) -> None:
    """Bring the stores of every bundle in a folder and their collections on a server together.

    Args:
        store: a folder.
        url: a server.
        bundle: a bundle's folder, of which the box may have nothing yet, or the first characters of
            a fingerprint, to choose one.
        done: filled while working, by fingerprint, so that it can be read after an interruption.

    Raises:
        StoreError: the server cannot be reached, or either side cannot be written.
    """
    from edge_app.catching_up import PAUSES_S, TIMEOUT_S, SyncReport, expected_steps, sync
    from edge_app.store import open_store
    from edge_app.store.inventory import held_at, held_of
    from edge_app.store.location import is_server
    from runtime.errors import StoreError
    from runtime.progress import counting

    if is_server(store) or not is_server(url):
        raise StoreError(
            f"sync: expected a folder and then a server such as http://HOST:6333, found {store!r} "
            f"and {url!r}; type: lineside sync ./neighbours http://HOST:6333"
        )
    named = bundle is not None and Path(bundle).exists()
    chosen = [held_of(Path(str(bundle)))] if named else held_at(store, bundle)
    done.update({held.bundle: SyncReport() for held in chosen})
    for held in chosen:
        opened = partial(open_store, bundle=held.bundle, embedding_length=held.embedding_length)
        with (
            opened(store) as box,
            opened(url, pauses_s=PAUSES_S, timeout_s=TIMEOUT_S) as server,
            counting(f"catching up {held.bundle[:8]}", expected_steps(box, server)) as advance,
        ):
            sync(box, server, report=done[held.bundle], advance=advance)
            box.optimize()
