"""``lineside index``: fill a neighbour store with inspected parts."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--images",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder of pictures, searched in depth.",
)
@click.option(
    "--store",
    "location",
    required=True,
    help="A folder, http://HOST:6333 or grpc://HOST:6334 (API key: environment variable "
    "QDRANT_API_KEY).",
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
@click.option("--camera", default="", help="Name of the camera, stored with every part.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    bundle: Path,
    images: Path,
    location: str,
    engine: str,
    precision: str,
    device: str,
    camera: str,
    as_json: bool,
) -> None:
    """Inspect the pictures below a folder and store them, so that later parts can be compared with them.

    Folders named as in MVTec AD (test/<defect>, train/good) give the names of the defects; masks
    are left out. Parts that the store has already stay as they are. A picture that cannot be read
    is named and skipped.

    \b
    Example:
      lineside index tile-patchcore --images parts/tile/test --store ./neighbours
    """
    from edge_app.fingerprint import bundle_fingerprint
    from edge_app.indexing import IndexReport, find_parts, index_parts
    from edge_app.store import open_store
    from runtime.console import emit_json, say
    from runtime.inspector import Inspector
    from runtime.progress import track

    parts = find_parts(images)
    report = IndexReport()
    with Inspector(bundle, engine=engine, precision=precision, device=device) as inspector:
        fingerprint = bundle_fingerprint(inspector.bundle)
        length = inspector.bundle.manifest.outputs.embedding_length
        with open_store(location, bundle=fingerprint, embedding_length=length) as store:
            try:
                index_parts(
                    inspector,
                    track(parts, "indexing"),
                    store,
                    bundle=fingerprint,
                    camera=camera,
                    report=report,
                )
                total = store.count()
                store.optimize()
            except KeyboardInterrupt:
                say(
                    f"{location}: it holds {store.count()} parts now; the same command goes on "
                    "from there"
                )
                raise
    for path, reason in report.skipped:
        say(f"skipped {path}: {reason}")
    if as_json:
        emit_json(
            {
                "store": location,
                "bundle": fingerprint,
                "stored": report.stored_total,
                "verdicts": report.stored,
                "unchanged": report.unchanged,
                "skipped": [
                    {"path": str(path), "reason": reason} for path, reason in report.skipped
                ],
                "total": total,
            }
        )
        return
    verdicts = ", ".join(f"{number} {verdict}" for verdict, number in sorted(report.stored.items()))
    click.echo(
        f"{location}: {report.stored_total} parts stored{f' ({verdicts})' if verdicts else ''}, "
        f"{report.unchanged} there "
        f"already, {len(report.skipped)} skipped; it holds {total} now"
    )
