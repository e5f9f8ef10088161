"""Write docs/reference.md from the commands' own --help: ``python -m scripts.reference``."""

from __future__ import annotations

from pathlib import Path

import click

from runtime.cli import cli

PAGE = Path(__file__).parent.parent / "docs" / "reference.md"
HEAD = """# Every command

Written by `python -m scripts.reference` from the commands' own `--help`; a test fails when it is
stale. Exit codes: 0 done, 1 failed, 2 usage, 3 a part was flagged (`inspect --fail-on-anomaly`),
130 interrupted. Results go to stdout, progress to stderr. The options of `lineside` itself stand
before the command: `lineside -q inspect ...`.
"""


def render() -> str:
    """The page as Markdown: the options before a command, then every command."""
    width = {"max_content_width": 92, "terminal_width": 92}
    lineside = cli.make_context("lineside", [], resilient_parsing=True, **width)
    parts = [HEAD, _section("lineside", lineside)]
    for name in cli.list_commands(lineside):
        command = cli.get_command(lineside, name)
        if command is not None:
            context = click.Context(command, info_name=name, parent=lineside, **width)
            parts.append(_section(f"lineside {name}", context))
    return "\n".join(parts)


def _section(title: str, context: click.Context) -> str:
    return f"## {title}\n\n```text\n{context.get_help().rstrip()}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
