"""``lineside user``."""

from __future__ import annotations

import sys
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
    help="With add: operators judge, engineers change thresholds and bundles as well.",
)
@json_option
def command(
    file: Path,
    action: Literal["show", "add", "remove"],
    name: str | None,
    role: Literal["operator", "engineer"],
    as_json: bool,
) -> None:
    """Make, list and remove the people who log in on the screens.

    The password is asked for, or read from the first line of standard input; FILE keeps its scrypt
    hash alone. Adding a name again sets another password and role, and ends that person's
    sessions. A running app takes a change up at the next request.

    \b
    Example:
      lineside user users.json add ada --role engineer
      lineside user users.json
      lineside user users.json remove ada
    """
    if (action == "show") != (name is None):
        raise click.UsageError(
            f"show takes no NAME, found '{name}'" if name else f"{action} needs a NAME"
        )
    from edge_app.access.users import put_user, read_users, remove_user
    from runtime.console import emit_json, printable, say

    if name is None:
        for user in read_users(file):
            if as_json:
                emit_json({"name": user.name, "role": user.role, "made": user.made})
            else:
                click.echo(printable(f"{user.name}  {user.role}  {user.made}"))
    elif action == "add":
        is_new = put_user(file, name, role, _password())
        if as_json:
            emit_json({"name": name, "role": role, "new": is_new})
        what = "may log in" if is_new else "has another password from now on"
        say(f"{file}: {name}, {role}, {what}")
    else:
        remove_user(file, name)
        say(f"{file}: {name} is let in no more")


def _password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    return str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
