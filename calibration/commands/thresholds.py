"""``lineside thresholds``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from runtime.options import json_option

if TYPE_CHECKING:
    from rich.table import Table


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument(
    "action", type=click.Choice(["show", "history", "set", "rollback", "seal"]), default="show"
)
@click.option(
    "--image-threshold",
    type=float,
    metavar="X",
    help="With set: raw score above which a part is anomalous.",
)
@click.option(
    "--pixel-threshold",
    type=float,
    metavar="X",
    help="With set: raw map value above which a pixel is.",
)
@click.option("--note", default="", help="With set: why, for those who come later.")
@click.option(
    "--engine",
    type=click.Choice(["openvino", "onnxruntime"]),
    help="Only this engine.  [default: all]",
)
@click.option("--precision", help="Only this precision.  [default: all]")
@json_option
def command(
    bundle: Path,
    action: Literal["show", "history", "set", "rollback", "seal"],
    image_threshold: float | None,
    pixel_threshold: float | None,
    note: str,
    engine: str | None,
    precision: str | None,
    as_json: bool,
) -> None:
    """Show a bundle's thresholds, set them by hand, or go back to the ones before.

    Every earlier threshold is kept. A running app takes a change up without a restart. The file
    carries a seal, so that an edit in an editor is refused until "seal" says that it was meant.

    \b
    Example:
      lineside thresholds tile-patchcore
      lineside thresholds tile-patchcore set --image-threshold 21.5 --note "agreed with QA"
      lineside thresholds tile-patchcore rollback
      lineside thresholds tile-patchcore seal
    """
    given = image_threshold is not None or pixel_threshold is not None
    if action == "set" and not given:
        raise click.UsageError("set needs --image-threshold X, --pixel-threshold X, or both")
    if action != "set" and given:
        raise click.UsageError(
            f"--image-threshold and --pixel-threshold belong to 'set', not to '{action}'"
        )
    from runtime.bundle.thresholds_file import ByHand, thresholds_of
    from runtime.console import emit_json, wide_console

    by_hand = ByHand(image_threshold, pixel_threshold, note)
    rows = thresholds_of(bundle, action, by_hand, engine=engine, precision=precision)
    if not as_json:
        wide_console().print(_table(rows))
        return
    for row in rows:
        emit_json({name: _plain(value) for name, value in row.items()})


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    from rich.table import Table

    from runtime.console import percent

    table = Table(box=None, pad_edge=False)
    for name in ("variant", "state", "set at", "method"):
        table.add_column(name, no_wrap=True)
    for name in ("image threshold", "pixel threshold", "good", "false rejects", "confidence"):
        table.add_column(name, justify="right")
    table.add_column("note")
    for row in rows:
        table.add_row(
            str(row["variant"]),
            str(row["state"]),
            str(row.get("set_at", ""))[:19],
            str(row.get("method", "")),
            _shown(row.get("image_threshold"), "{:.4f}".format),
            _shown(row.get("pixel_threshold"), "{:.4f}".format),
            str(row.get("n_good", "-")),
            _shown(row.get("max_false_rejects"), percent),
            _shown(row.get("confidence"), percent),
            str(row.get("note", "")),
        )
    return table


def _shown(value: Any, form: Callable[[float], str]) -> str:
    """A number in its form; anything else, which somebody edited in, as it stands."""
    if value is None:
        return "-"
    return form(value) if isinstance(value, (int, float)) else str(value)


def _plain(value: Any) -> Any:
    """What JSON holds: a number that is not finite, which somebody edited in, becomes null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
