"""The ``lineside`` command; its subcommands come from the entry-point group ``lineside.commands``.

A subcommand is a :class:`click.Command`. Its module must import nothing heavier than click at the
top, so that ``lineside --help`` stays quick; the work is imported inside the function.
"""

from __future__ import annotations

import copy
import logging
import signal
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points, version
from typing import Any

import click

from runtime.console import LOG_FORMATS, printable, shown
from runtime.errors import LinesideError

GROUP = "lineside.commands"
# The order a newcomer meets them in, rather than the alphabet.
ORDER = (
    "sample-data",
    "get-data",
    "get-weights",
    "train",
    "train-many",
    "teach",
    "plan",
    "import",
    "pack",
    "sign",
    "verify",
    "calibrate",
    "thresholds",
    "health",
    "evaluate",
    "inspect",
    "archive",
    "watch",
    "bench",
    "index",
    "search",
    "sync",
    "prune",
    "store-export",
    "store-import",
    "app",
    "station",
    "token",
    "user",
    "report",
    "doctor",
)


class LinesideGroup(click.Group):
    """A group that loads a subcommand when it is asked for, not before."""

    def _entry_points(self) -> dict[str, EntryPoint]:
        return {entry.name: entry for entry in entry_points(group=GROUP)}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all subcommands, in the order of the work."""
        names = self._entry_points()
        return sorted(
            names, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name)
        )

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one subcommand."""
        entry = self._entry_points().get(cmd_name)
        if entry is None:
            return None
        loaded = entry.load()
        if not isinstance(loaded, click.Command) or loaded.callback is None:
            raise LinesideError(f"entry point '{entry.value}' of '{cmd_name}' is no click command")
        command = copy.copy(loaded)
        command.params = [*loaded.params, *_output_options(hidden=True)]
        command.callback = _with_output(loaded.callback)
        return command


def _output_options(*, hidden: bool = False) -> list[click.Option]:
    """-v, -q and --log-format; a subcommand takes them too, as people type them there."""
    return [
        click.Option(["-v", "--verbose"], is_flag=True, hidden=hidden, help="Say more on stderr."),
        click.Option(
            ["-q", "--quiet"],
            is_flag=True,
            hidden=hidden,
            help="Say warnings and errors alone on stderr.",
        ),
        click.Option(
            ["--log-format"],
            type=click.Choice(LOG_FORMATS),
            hidden=hidden,
            help="stderr for people, or for services one JSON object a line.  [default: text]",
        ),
    ]


def _with_output(callback: Callable[..., Any]) -> Callable[..., Any]:
    """Run a subcommand with its log lines and progress on stderr."""

    def run(*, verbose: bool, quiet: bool, log_format: str | None, **options: Any) -> Any:
        before = click.get_current_context().find_root().params
        level = logging.WARNING if quiet or before["quiet"] else logging.INFO
        if verbose or before["verbose"]:
            level = logging.DEBUG
        with shown(level, log_format or before["log_format"] or LOG_FORMATS[0]):
            return callback(**options)

    return run


@click.group(
    cls=LinesideGroup,
    params=[*_output_options()],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(version("lineside"), prog_name="lineside")
def cli(**_: object) -> None:
    """Visual inspection for the side of a production line.

    Learn what good parts look like, export the model, run it on a small computer, and find earlier
    parts that were wrong in the same way.

    \b
    Example:
      lineside sample-data parts --category tile
      lineside train --model patchcore --data parts --category tile --out tile-patchcore
      lineside inspect tile-patchcore parts/tile/test/crack
    """


def main() -> None:
    """Run the command line.

    Exit codes: 0 done, 1 failed, 2 usage, 3 flagged (inspect --fail-on-anomaly), 130 interrupted.
    """
    # A service manager stops what it started with SIGTERM: end as with Ctrl-C, with everything
    # stored and closed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        # Click hands the code of an Exit back instead of raising it.
        code = cli(standalone_mode=False)
        if code:
            sys.exit(code)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("lineside: interrupted; nothing half-written was left", err=True)
        sys.exit(130)
    except LinesideError as error:
        click.echo(f"lineside: {printable(str(error))}", err=True)
        sys.exit(1)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        click.echo(f"lineside: {printable(str(error))}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
