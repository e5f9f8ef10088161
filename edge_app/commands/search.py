"""``lineside search``: which earlier parts looked like this one."""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from edge_app.region import Region
    from edge_app.search import Found


def _region(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> Region | None:
    from edge_app.region import Region

    try:
        return None if value is None else Region.parse(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}; e.g. --region 120,80,60,40") from error


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument(
    "images", metavar="IMAGE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--store",
    "location",
    required=True,
    help="A folder, http://HOST:6333 or grpc://HOST:6334 (API key: environment variable "
    "QDRANT_API_KEY).",
)
@click.option(
    "-k", default=5, show_default=True, type=click.IntRange(1, 1000), help="Number of neighbours."
)
@click.option(
    "--verdict",
    type=click.Choice(["good", "anomalous", "cannot_judge"]),
    help="Only neighbours so judged.",
)
@click.option("--category", help="Only neighbours of this kind of part.")
@click.option(
    "--region",
    metavar="X,Y,W,H",
    callback=_region,
    help="Find the like of this box, in pixels of the picture, instead of the whole part's.",
)
@click.option(
    "--engine",
    default="openvino",
    show_default=True,
    type=click.Choice(["openvino", "onnxruntime"]),
)
@click.option(
    "--precision", default="fp32", show_default=True, help="A precision that the bundle has."
)
@click.option("--device", default="CPU", show_default=True, help="CPU, GPU, NPU or AUTO.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per picture.")
def command(
    bundle: Path,
    images: tuple[Path, ...],
    location: str,
    k: int,
    verdict: str | None,
    category: str | None,
    region: Region | None,
    engine: str,
    precision: str,
    device: str,
    as_json: bool,
) -> None:
    """Inspect pictures and find the stored parts that look most like each of them, the part itself left out.

    IMAGE is a picture or a folder of pictures. A flagged part finds parts flagged for the same
    reason; a good part finds good ones.

    \b
    Example:
      lineside search tile-patchcore parts/tile/test/crack/000.png --store ./neighbours
      lineside search tile-patchcore part.png --region 120,80,60,40 --store ./neighbours
    """
    from edge_app.fingerprint import bundle_fingerprint
    from edge_app.search import find_neighbors, pictures
    from edge_app.store import SearchFilter, open_store
    from runtime.console import emit_json, say
    from runtime.errors import ImageError
    from runtime.inspector import Inspector

    where = SearchFilter(category=category, verdict=verdict)
    failed = 0
    with Inspector(bundle, engine=engine, precision=precision, device=device) as inspector:
        fingerprint = bundle_fingerprint(inspector.bundle)
        length = inspector.bundle.manifest.outputs.embedding_length
        with open_store(
            location, bundle=fingerprint, embedding_length=length, create=False
        ) as store:
            for path in pictures(images):
                try:
                    found = find_neighbors(
                        inspector, path, store, bundle=fingerprint, k=k, where=where, region=region
                    )
                except ImageError as error:
                    say(str(error))
                    failed += 1
                    continue
                if as_json:
                    emit_json(found.to_json())
                else:
                    _print(found)
    if failed:
        raise click.exceptions.Exit(1)


def _print(found: Found) -> None:
    from rich.console import Console
    from rich.table import Table

    from runtime.console import printable

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        # Nobody wraps a file or a pipe: give paths all the room they need.
        console.width = 400
    box = (
        f"; like the box {','.join(map(str, astuple(found.region)))}"
        if found.region is not None
        else ""
    )
    heading = f"{found.path}: {found.verdict}{box}"
    if not found.neighbors:
        console.print(f"{heading}; no stored part satisfies the filter", soft_wrap=True)
        return
    table = Table("similarity", "verdict", "defect", title=heading, title_justify="left")
    table.add_column("part", overflow="fold")
    for neighbor in found.neighbors:
        point = neighbor.point
        table.add_row(
            f"{neighbor.similarity:.3f}",
            *(printable(text) for text in (point.verdict, point.defect_type or "-", point.path)),
        )
    console.print(table)
