"""``lineside app``: the operator's page."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from runtime.options import engine_options, signature_option


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
    "--root-path",
    default="",
    metavar="PATH",
    help="Path below which a proxy shows the page, e.g. /line3.",
)
@click.option(
    "--no-password",
    is_flag=True,
    help="Serve a network without asking for a password, and this machine under any name.",
)
@click.option(
    "--api-token-file",
    type=click.Path(path_type=Path),
    help="Programs need a token of this file for the API, see lineside token.",
)
@click.option(
    "--users-file",
    type=click.Path(path_type=Path),
    help="People log in with the passwords and roles of this file, see lineside user.",
)
@click.option(
    "--trusted-proxy",
    "trusted_proxies",
    multiple=True,
    metavar="ADDRESS",
    help="Address or network of a proxy whose X-Forwarded-For is believed; may be repeated.",
)
@engine_options
@signature_option
def command(bundles: tuple[Path, ...], location: str, no_password: bool, **options: Any) -> None:
    """Show the operator's page: verdict, heat map, similar earlier parts, and two buttons.

    The same server answers programs below /v1: POST /v1/inspect, GET /v1/parts, /metrics.

    The buttons say that the verdict is right or wrong; a part is remembered in the
    store with that word. On any address but this machine's own the page asks the user 'operator'
    for the password in the environment variable LINESIDE_PASSWORD.

    \b
    Example:
      lineside app tile-patchcore --store ./neighbours --samples parts
      lineside app tile-patchcore --api-token-file api-tokens.json
      lineside app tile-patchcore --host 0.0.0.0 --users-file users.json
    """
    from runtime.errors import require_extra

    require_extra("app", "gradio", "qdrant_edge", "prometheus_client")
    from threading import Event

    from edge_app.access.origin import PASSWORD_VARIABLE
    from edge_app.serving import serving
    from runtime.console import say

    password = os.environ.get(PASSWORD_VARIABLE) or None
    with serving(bundles, location, password=password, open_to_all=no_password, **options) as url:
        try:
            click.echo(url)
            say(f"more: {url}inspect  {url}history  {url}model  {url}batch")
            say("Ctrl-C stops the page")
            Event().wait()
        except KeyboardInterrupt:
            say("stopped; everything that was remembered is stored")
