"""Pictures of a terminal for the how-to pages: ``python -m scripts.terminal BUNDLE PARTS [NAME]``.

Each is what real commands print, on a copy of the bundle, drawn as SVG by rich. PARTS is in MVTec
AD's layout. Figures in them are those of the machine that draws them.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import click
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

IMAGES = Path(__file__).parent.parent / "docs" / "images"
WIDTH = 116
# What each picture types, in a folder with tile-patchcore and parts.
PICTURES: dict[str, tuple[str, ...]] = {
    "certificate": ("lineside verify tile-patchcore",),
    "offline": (
        "lineside pack tile-patchcore tile-patchcore.lineside",
        "lineside verify tile-patchcore.lineside",
    ),
    "intel-gpu": (
        "lineside verify tile-patchcore --device GPU",
        "lineside verify tile-patchcore --device AUTO",
    ),
    "archive": (
        "lineside archive tile-patchcore parts/test --out results",
        "lineside archive tile-patchcore parts/test --out results",
    ),
    "bench": ("lineside bench tile-patchcore --takt-ms 50",),
}
# Rich asks the web for its font.
_FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


@click.command(help=__doc__)
@click.argument("bundle", type=click.Path(path_type=Path, exists=True))
@click.argument("parts", type=click.Path(path_type=Path, exists=True))
@click.argument("names", nargs=-1, type=click.Choice(list(PICTURES)))
def main(bundle: Path, parts: Path, names: tuple[str, ...]) -> None:
    """Draw all pictures, or those that are named."""
    for name in names or PICTURES:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            shutil.copytree(bundle, place / "tile-patchcore")
            (place / "parts").symlink_to(parts.resolve())
            drawn = draw(name, [(line, output_of(line, place)) for line in PICTURES[name]])
        (IMAGES / f"terminal-{name}.svg").write_text(drawn, encoding="utf-8")
        click.echo(f"docs/images/terminal-{name}.svg")


def output_of(line: str, folder: Path) -> str:
    """What a command prints, on stdout and stderr."""
    command = [sys.executable, "-m", "lineside", *shlex.split(line)[1:]]
    environment = {**os.environ, "COLUMNS": str(WIDTH), "LINESIDE_PROGRESS_EVERY": "3600"}
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return "\n".join(one.rstrip() for one in done.stdout.splitlines())


def draw(name: str, said: list[tuple[str, str]]) -> str:
    """The terminal as SVG."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=WIDTH, file=nowhere, force_terminal=True)
        for line, output in said:
            console.print(Text(f"$ {line}", style="bold green"))
            console.print(Text(output))
        drawn = console.export_svg(title="lineside", theme=MONOKAI, unique_id=name)
    return _FONT.sub("", drawn).replace("Fira Code", "ui-monospace").rstrip() + "\n"


if __name__ == "__main__":
    main()
