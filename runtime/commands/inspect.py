"""``lineside inspect``."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runtime.console import emit_json, fault_line, prediction_line, say, say_if_weak
from runtime.options import engine_options, json_option, signature_option

if TYPE_CHECKING:
    from runtime.bundle.thresholds import Threshold


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@engine_options
@signature_option
@click.option(
    "--save-maps",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write each part under its heat map, and its mask, at the part's own size.",
)
@click.option(
    "--coco",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the regions of anomalous parts as COCO annotations, for FiftyOne or supervision.",
)
@click.option("--fail-on-anomaly", is_flag=True, help="Exit with 3 unless every part is good.")
@json_option
def command(
    bundle: Path,
    paths: tuple[Path, ...],
    save_maps: Path | None,
    coco: Path | None,
    fail_on_anomaly: bool,
    as_json: bool,
    **engine: Any,
) -> None:
    """Inspect pictures, or folders of them, and print a verdict for each.

    A file that is no readable picture is reported and skipped; the command then exits with 1 at the
    end. A picture that cannot be judged (out of focus, too dark, ...) says why; --fail-on-anomaly
    counts it like a flagged part, for nobody has found it good. Where the engine fails, hangs or
    says what cannot be, no part is called good: each says why, and the command exits with 1.

    With --json each part has its regions: what lies above the pixel threshold, with box, area,
    peak and contour in pixels of the picture. A mask of --save-maps is white there.

    \b
    Example:
      lineside inspect tile-patchcore parts/tile/test/crack --save-maps maps
      lineside inspect tile-patchcore photo.png --json
    """
    from runtime.errors import ImageError
    from runtime.images.dataset import collect_images
    from runtime.images.layouts.coco_results import CocoResults
    from runtime.pipeline import inspect_pictures

    pictures = collect_images(paths)
    if save_maps is not None:
        save_maps.mkdir(parents=True, exist_ok=True)
    counts: Counter[str] = Counter()
    last: Threshold | None = None
    annotations = CocoResults(coco)
    for index, (path, found) in enumerate(inspect_pictures(bundle, pictures, **engine)):
        if isinstance(found, ImageError):
            counts["unreadable"] += 1
            say(f"skipped: {found}")
            continue
        counts[found.verdict] += 1
        counts["fault"] += found.is_fault
        last = found.threshold
        if as_json:
            emit_json({"path": str(path), **found.to_json(regions=True)})
        else:
            click.echo(prediction_line(str(path), found))
        if save_maps is not None:
            found.save_map(save_maps, f"{index:05d}_{path.stem}", path)
        annotations.add(path, found)
    annotations.close()
    if not as_json and len(pictures) > 1:
        _tell(len(pictures), counts)
    say_if_weak(last)
    if counts["fault"]:
        say(fault_line(counts["fault"]))
    if counts["unreadable"] or counts["fault"]:
        sys.exit(1)
    if fail_on_anomaly and (counts["anomalous"] or counts["cannot_judge"]):
        sys.exit(3)


def _tell(total: int, counts: Counter[str]) -> None:
    say(
        f"{total} pictures: {counts['anomalous']} anomalous, "
        f"{counts['cannot_judge']} cannot be judged, {counts['unreadable']} unreadable"
    )
