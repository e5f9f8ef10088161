"""``lineside search``: which earlier parts looked like this one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runtime.options import engine_options, json_option, store_option

if TYPE_CHECKING:
    from edge_app.similar import Found
    from edge_app.store import SearchFilter
    from runtime.errors import ImageError
    from runtime.images.regions import Box


def _region(_context: click.Context, _parameter: click.Parameter, text: str | None) -> Any:
    from runtime.images.regions import Box

    try:
        return None if text is None else Box.parse(text)
    except ValueError as error:
        raise click.BadParameter(f"{error}; e.g. --region 120,80,60,40") from error


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument(
    "images", metavar="IMAGE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@store_option
@click.option(
    "-k", default=5, show_default=True, type=click.IntRange(1, 1000), help="Number of neighbors."
)
@click.option(
    "--verdict",
    type=click.Choice(["good", "anomalous", "cannot_judge"]),
    help="Only neighbors so judged.",
)
@click.option("--category", help="Only neighbors of this kind of part.")
@click.option(
    "--region",
    metavar="X,Y,W,H",
    callback=_region,
    help="Find the like of this box, in pixels of the picture, instead of the whole part's.",
)
@engine_options
@json_option
def command(verdict: str | None, category: str | None, as_json: bool, **options: Any) -> None:
    """Inspect pictures and find the stored parts that look most like each of them.

    IMAGE is a picture or a folder of pictures; the part itself is left out. A flagged part finds
    parts flagged for the same reason; a good part finds good ones. --json prints one object per
    picture.

    \b
    Example:
      lineside search tile-patchcore parts/tile/test/crack/000.png --store ./neighbours
      lineside search tile-patchcore part.png --region 120,80,60,40 --store ./neighbours
    """
    from edge_app.store import SearchFilter
    from runtime.console import emit_json, say
    from runtime.errors import ImageError

    failed = False
    for found in search_pictures(where=SearchFilter(category, verdict), **options):
        if isinstance(found, ImageError):
            say(str(found))
            failed = True
        elif as_json:
            emit_json(found.to_json())
        else:
            _print(found)
    if failed:
        raise click.exceptions.Exit(1)


def _print(found: Found) -> None:
    from rich.table import Table

    from runtime.console import printable, wide_console

    console = wide_console()
    if not console.is_terminal:
        # Nobody wraps a file or a pipe: give paths all the room they need.
        console.width = 400
    heading = f"{found.path}: {found.verdict}"
    if found.region is not None:
        heading += f"; like the box {','.join(map(str, astuple(found.region)))}"
    if not found.neighbors:
        console.print(f"{heading}; no stored part satisfies the filter", soft_wrap=True)
        return
    table = Table("similarity", "verdict", "defect", title=heading, title_justify="left")
    table.add_column("part", overflow="fold")
    for neighbor in found.neighbors:
        point = neighbor.point
        words = map(printable, (point.verdict, point.defect_type or "-", point.path))
        table.add_row(f"{neighbor.similarity:.3f}", *words)
    console.print(table)


def search_pictures(
    bundle: Path,
    images: Sequence[Path],
    location: str,
    *,
    k: int = 5,
    where: SearchFilter | None = None,
    region: Box | None = None,
    **engine: Any,
) -> Iterator[Found | ImageError]:
    """Find the neighbors of pictures, one after the other; for one that cannot be read, why.

    Raises:
        DataError: a folder holds no picture.
        BundleError: the bundle is unusable.
        StoreError: there is no such store, or it cannot be read.
    """
    from edge_app.line import open_memory
    from edge_app.similar import find_neighbors, pictures
    from runtime.errors import ImageError
    from runtime.inspector import Inspector

    with (
        Inspector(bundle, **engine) as inspector,
        open_memory(inspector, location, create=False) as store,
    ):
        for path in pictures(images):
            try:
                yield find_neighbors(
                    inspector, path, store, bundle=store.bundle, k=k, where=where, region=region
                )
            except ImageError as error:
                yield error
