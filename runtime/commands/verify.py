"""``lineside verify``."""

from __future__ import annotations

from pathlib import Path

import click

from runtime.options import json_option


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--engine",
    type=click.Choice(["openvino", "onnxruntime"]),
    help="Only this engine.  [default: all installed]",
)
@click.option("--precision", help="Only this precision.  [default: all]")
@click.option("--device", default="CPU", show_default=True, help="CPU, GPU, NPU or AUTO.")
@json_option
def command(
    bundle: Path, engine: str | None, precision: str | None, device: str, as_json: bool
) -> None:
    """Check every file's hash and replay the golden images on this machine's own device.

    Exits with 1 if a device computes something else than anomalib's torch model did at export, or
    an INT8 variant something else than it did when it passed its gate.

    \b
    Example:
      lineside verify tile-patchcore
      lineside verify tile-patchcore --device GPU --engine openvino --json
    """
    from runtime.commands._verify import run

    run(bundle, engine, precision, device, as_json=as_json)
