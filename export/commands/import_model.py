"""``lineside import``."""

from __future__ import annotations

from pathlib import Path

import click

from runtime.options import first_threshold_option, json_option


@click.command()
@click.argument("kind", type=click.Choice(["anomalib"]))
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--good",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Good parts that the model has not learned, ten at least: they set the threshold.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Bundle to write.")
@click.option("--name", help="Name of the bundle.  [default: CATEGORY-anomalib]")
@click.option("--category", help="Kind of part.  [default: the name of DIR]")
@click.option(
    "--size",
    type=click.IntRange(32, 4096),
    help="Height and width of the input in pixels, of an export that takes any.",
)
@first_threshold_option
@json_option
def command(
    kind: str,
    model: Path,
    good: Path,
    out: Path,
    name: str | None,
    category: str | None,
    size: int | None,
    max_false_rejects: float,
    as_json: bool,
) -> None:
    """Make a bundle of a model that was trained elsewhere: an export of anomalib's.

    MODEL is model.xml or model.onnx as anomalib's Engine.export writes them, or the folder of one.
    An ONNX file gives variants for both engines, OpenVINO's format one for OpenVINO alone. Each is
    compared with the export itself; a bundle that differs is not written.

    Such a model has no descriptor of its own. Similar parts are then those with the heat at the
    same place. teach and INT8 need a bundle that lineside train has made.

    \b
    Example:
      lineside import anomalib results/weights/openvino --good parts/tile/test/good --out tile
    """
    from runtime.errors import require_extra

    require_extra("train", "sklearn")
    from export.interop.importing import import_anomalib
    from runtime.console import emit_json, percent, say

    found = import_anomalib(
        model,
        out,
        good,
        name=name,
        category=category,
        size=size,
        max_false_rejects=max_false_rejects,
    )
    if as_json:
        emit_json(
            {
                "bundle": str(out),
                "name": found.manifest.name,
                "model": kind,
                "certificate": found.manifest.certificate,
                "image_threshold": found.threshold.image_threshold,
                "good": found.n_good,
                "good_above_half": found.own_rejects,
            }
        )
        return
    for one in found.parity:
        click.echo(
            f"{one.variant}: {one.images} pictures, score {one.max_score_difference:.1e} and map "
            f"{one.p99_map_difference:.1e} of their range from the export"
        )
    click.echo(
        f"{out}: threshold {found.threshold.image_threshold:.4g} from {found.n_good} good parts, "
        f"asked {percent(max_false_rejects)} false rejects; 0.5, where anomalib normalizes to, "
        f"would reject {found.own_rejects}"
    )
    say("similar parts: those with the heat at the same place, for the export has no descriptor")
