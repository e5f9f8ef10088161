"""``lineside station``: everything at the line in one process."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runtime.options import signature_option

if TYPE_CHECKING:
    from edge_app.live.config import Config


@click.command()
@click.argument("config", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--init", is_flag=True, help="Write CONFIG, every key explained, for what make demo has made."
)
@signature_option
@click.option("--check", is_flag=True, help="Say whether CONFIG can be used, and start nothing.")
def command(config: Path, init: bool, check: bool, signed_by: Path | None) -> None:
    """Watch the line: judge what the sources bring, record it, and show it, in one process.

    CONFIG is a TOML file. It names the bundles, the folder of the records, and the sources: folders
    that fill up, videos, cameras, streams. Each part is judged once and recorded once: pictures
    that were judged before a restart are not judged again, those that came meanwhile are.

    The operator's screen is at /line, the page for single pictures at /, the API at /v1. On any
    address but this machine's own all of them ask the user 'operator' for the password in the
    environment variable LINESIDE_PASSWORD.

    A change of outputs and [pictures] in CONFIG is taken over at once, or on SIGHUP; the log says
    what waits for the next start.

    A source that goes away is told and tried again until it is back. Ctrl-C and SIGTERM end it with
    everything recorded. systemd is told when it is ready, and that it is alive (docs/deploy.md).

    \b
    Example:
      lineside station station.toml --init
      lineside station station.toml --check
      lineside station station.toml
    """
    from edge_app.live.config import read_config
    from edge_app.live.first import write_first
    from runtime.console import say

    if init:
        incoming = write_first(config)
        click.echo(str(config))
        say(f"next: lineside station {config}   then copy pictures into {incoming}")
        return
    found = read_config(config)
    if signed_by is not None:
        found = replace(found, engine={**found.engine, "signed_by": signed_by})
    if check:
        names = ", ".join(source.name for source in found.sources)
        click.echo(f"{config}: can be used; sources: {names}")
        return
    _run(found, config)


def _run(config: Config, path: Path) -> None:
    from runtime.errors import require_extra

    require_extra("app", "gradio", "qdrant_edge", "prometheus_client")
    from threading import Event

    from edge_app.access.origin import PASSWORD_VARIABLE
    from edge_app.live.notifying import stay
    from edge_app.live.running import running_station
    from edge_app.outputs.following import Follow
    from runtime.console import say
    from runtime.sources import shown

    follow = Follow(path)
    # Where there is such a signal; a change of the file is enough elsewhere.
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, lambda *_: follow.again.set())
    with running_station(config, os.environ.get(PASSWORD_VARIABLE) or None, follow) as url:
        try:
            click.echo(f"{url}line")
            for source in config.sources:
                say(f"{source.name}: {shown(source.watch)}, judged by {source.bundle}")
            say("Ctrl-C stops the station")
            stay(url, Event())
        except KeyboardInterrupt:
            say("stopped; every part that was judged is recorded")
