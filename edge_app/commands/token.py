"""``lineside token``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from runtime.options import json_option


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("action", type=click.Choice(["show", "add", "remove"]), default="show")
@click.argument("name", required=False)
@click.option(
    "--role",
    type=click.Choice(["operator", "engineer"]),
    default="operator",
    show_default=True,
    help="With add: an engineer's program may change thresholds, too.",
)
@json_option
def command(
    file: Path,
    action: Literal["show", "add", "remove"],
    name: str | None,
    role: Literal["operator", "engineer"],
    as_json: bool,
) -> None:
    """Make, list and take back the tokens with which programs use the API.

    A new token is printed once; FILE keeps its hash alone. A running app takes a change up at the
    next request.

    \b
    Example:
      lineside token api-tokens.json add press-3
      lineside app tile-patchcore --api-token-file api-tokens.json
      lineside token api-tokens.json remove press-3
    """
    if (action == "show") != (name is None):
        raise click.UsageError(
            f"show takes no NAME, found '{name}'" if name else f"{action} needs a NAME"
        )
    from edge_app.access.tokens import add_token, read_tokens, remove_token
    from runtime.console import emit_json, printable, say

    if name is None:
        for token in read_tokens(file):
            if as_json:
                emit_json({"name": token.name, "made": token.made, "role": token.role})
            else:
                click.echo(printable(f"{token.name}  {token.made}  {token.role}"))
    elif action == "add":
        secret = add_token(file, name, role)
        click.echo(secret) if not as_json else emit_json({"name": name, "token": secret})
        say(f"{file}: keeps its hash alone; whoever has the token is '{name}' in the records")
    else:
        remove_token(file, name)
        say(f"{file}: the token of '{name}' is no longer accepted")
