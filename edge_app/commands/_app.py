"""The work behind ``lineside app``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from edge_app.page.layout import build_page
from edge_app.page.samples import load_samples
from edge_app.page.serve import PASSWORD_VARIABLE, check_access, serve, wait_for_interrupt
from edge_app.page.station import Station
from runtime.console import say


def run(
    bundles: Sequence[Path],
    location: str,
    samples: Path | None,
    host: str,
    port: int,
    engine: dict[str, Any],
    *,
    open_to_all: bool,
) -> None:
    """Serve until Ctrl-C; the stores are flushed and closed whatever happens.

    Raises:
        PageError: the page cannot be served.
        BundleError: a bundle is unusable.
        StoreError: the store cannot be opened.
        DataError: the folder of samples is missing or empty.
    """
    password = os.environ.get(PASSWORD_VARIABLE) or None
    check_access(host, password, open_to_all=open_to_all)
    with Station.open(bundles, location, engine) as station:
        pictures = {
            label: load_samples(samples, line.category) if samples is not None else []
            for label, line in station.lines.items()
        }
        page = build_page(station, pictures)
        try:
            url = serve(page, host, port, password, any_name=open_to_all)
            click.echo(url)
            say("Ctrl-C stops the page")
            wait_for_interrupt()
        except KeyboardInterrupt:
            say("stopped; everything that was remembered is stored")
        finally:
            page.close(verbose=False)
