"""Write docs/reference.md from the commands' own --help: ``python -m scripts.reference``."""

from __future__ import annotations

from pathlib import Path

import click

from runtime.cli import cli

PAGE = Path(__file__).parent.parent / "docs" / "reference.md"
HEAD = """# Every command

Written by `python -m scripts.reference` from the commands' own `--help`; a test fails when it is stale. Exit codes: 0 done, 1 failed, 2 usage, 3 a part was flagged
(`inspect --fail-on-anomaly`), 130 interrupted. Results go to stdout, progress to stderr.
"""


def render() -> str:
    """The page as Markdown."""
    parts = [HEAD]
    parent = click.Context(cli, info_name="lineside", max_content_width=110, terminal_width=110)
    for name in cli.list_commands(parent):
        command = cli.get_command(parent, name)
        if command is None:
            continue
        context = click.Context(
            command, info_name=name, parent=parent, max_content_width=110, terminal_width=110
        )
        parts.append(f"## lineside {name}\n\n```text\n{command.get_help(context).rstrip()}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
