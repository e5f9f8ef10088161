"""``lineside app``: the operator's page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from runtime.options import engine_options


@click.command()
@click.argument(
    "bundles", metavar="BUNDLE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--store",
    "location",
    default="neighbours",
    show_default=True,
    help="A folder, http://HOST:6333 or grpc://HOST:6334 (API key: environment variable "
    "QDRANT_API_KEY).",
)
@click.option("--samples", type=click.Path(path_type=Path), help="Folder of pictures to click on.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; 0.0.0.0 for the network.",
)
@click.option(
    "--port",
    default=7860,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="0 for any free port.",
)
@click.option(
    "--no-password",
    is_flag=True,
    help="Serve a network without asking for a password, and this machine under any name.",
)
@engine_options
def command(
    bundles: tuple[Path, ...],
    location: str,
    samples: Path | None,
    host: str,
    port: int,
    no_password: bool,
    **engine: Any,
) -> None:
    """Show the operator's page: verdict, heat map, five similar earlier parts, and two buttons: right, wrong.

    A part is remembered in the store when the operator gives a word on it. On any address but this
    machine's own the page asks the user 'operator' for the password in the environment variable
    LINESIDE_PASSWORD.

    \b
    Example:
      lineside app tile-patchcore --store ./neighbours --samples parts
    """
    from runtime.errors import require_extra

    require_extra("app", "gradio", "qdrant_edge")
    from edge_app.commands._app import run

    run(bundles, location, samples, host, port, engine, open_to_all=no_password)
