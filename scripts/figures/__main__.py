"""Draw the figures of docs/tutorial.md and of how-to pages.

    python -m scripts.figures                              all of them, into docs/images
    python -m scripts.figures --only coreset --out here    one of them

Draws procedural parts and trains one small PatchCore on them, about a minute in all. ``--bundles
DIR`` takes the model from ``DIR/tile-patchcore`` instead, if it was trained on ``lineside
sample-data`` with default settings.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
from matplotlib.figure import Figure

from scripts.figures import (
    conformal,
    coreset,
    health,
    maps,
    materials,
    neighbors,
    pipelines,
    resizing,
    roc,
    style,
)
from scripts.figures.world import World

FIGURES: dict[str, Callable[[World], Figure]] = {
    "materials": materials.draw,
    "roc": roc.draw,
    "maps": maps.draw,
    "coreset": coreset.draw,
    "patchcore": pipelines.draw_patchcore,
    "efficientad": pipelines.draw_efficientad,
    "resize": resizing.draw,
    "conformal": conformal.draw,
    "expect": maps.draw_expected,
    "neighbours": neighbors.draw,
    "health": health.draw_unwell,
    "drift": health.draw_drift,
}


@click.command(help=__doc__, context_settings={"max_content_width": 110})
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("docs/images"), show_default=True
)
@click.option(
    "--only",
    type=click.Choice(list(FIGURES)),
    multiple=True,
    help="Draw this one; may be repeated.",
)
@click.option(
    "--bundles", type=click.Path(path_type=Path, exists=True), help="Folder of trained bundles."
)
def main(out: Path, only: tuple[str, ...], bundles: Path | None) -> None:
    """Draw."""
    style.apply()
    with World(bundles) as world:
        for name in only or FIGURES:
            path = style.save(FIGURES[name](world), out / f"tutorial-{name}.png")
            click.echo(f"{path}  {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
