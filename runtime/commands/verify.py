"""``lineside verify``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from runtime.console import emit_json
from runtime.options import isolate_option, json_option, signature_option

if TYPE_CHECKING:
    from runtime.bundle.golden import Parity


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--engine",
    type=click.Choice(["openvino", "onnxruntime"]),
    help="Only this engine.  [default: all installed]",
)
@click.option("--precision", help="Only this precision.  [default: all]")
@click.option("--device", default="CPU", show_default=True, help="CPU, GPU, NPU or AUTO.")
@isolate_option
@signature_option
@json_option
def command(
    bundle: Path,
    engine: str | None,
    precision: str | None,
    device: str,
    isolate: bool,
    signed_by: Path | None,
    as_json: bool,
) -> None:
    """Check every file's hash or seal and replay the golden images on this machine's own device.

    Exits with 1 if a device computes something else than anomalib's torch model did at export, or
    an INT8 variant something else than it did when it passed its gate. A bundle of somebody whom
    you do not know is looked at with --isolate: a model that crashes its engine is then an error.

    \b
    Example:
      lineside verify tile-patchcore
      lineside verify tile-patchcore --device GPU --engine openvino --json
    """
    from runtime.bundle.golden import verify
    from runtime.errors import ParityError

    results = verify(bundle, engine, precision, device, signed_by, isolate=isolate)
    for parity in results:
        if as_json:
            emit_json(parity.to_json())
        else:
            click.echo(_line(parity))
    failed = next((parity for parity in results if not parity.holds), None)
    if failed is not None:
        raise ParityError(f"{bundle}: {failed.refusal()}")


def _line(parity: Parity) -> str:
    return (
        f"{'ok' if parity.holds else 'FAILED':<7}{parity.variant} on {parity.device}: "
        f"{parity.images} golden images, score difference max {parity.max_score_difference:.1e} "
        f"p99 {parity.p99_score_difference:.1e} of the range (allowed {parity.bound:g}), "
        f"map difference max {parity.max_map_difference:.1e} p99 "
        f"{parity.p99_map_difference:.1e}, {parity.verdict_flips} verdict flips"
    )
