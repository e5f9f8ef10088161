"""``lineside calibrate``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from runtime.options import json_option

_PROMISE = ("max_false_rejects", "confidence", "on_average")


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--good",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="Good parts that training has not seen, as the line makes them.",
)
@click.option(
    "--max-false-rejects",
    type=float,
    default=0.01,
    show_default=True,
    metavar="RATE",
    help="Share of good parts that may be rejected.",
)
@click.option(
    "--confidence",
    type=float,
    default=0.95,
    show_default=True,
    metavar="P",
    help="How sure the promise must be.",
)
@click.option(
    "--on-average",
    is_flag=True,
    help="Promise the rate on average over many calibrations, not with a confidence: needs fewer "
    "pictures.",
)
@click.option(
    "--bad",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Bad parts, if there are any: the threshold with the best F1, or the least cost. With "
    "--int8 and a rate they judge the variant alone.",
)
@click.option(
    "--cost-false-reject",
    type=float,
    metavar="X",
    help="With --bad: cost of rejecting a good part.",
)
@click.option(
    "--cost-missed", type=float, metavar="Y", help="With --bad: cost of a bad part let through."
)
@click.option(
    "--bad-share",
    type=float,
    metavar="SHARE",
    help="With costs: share of bad parts on the line.  [default: as among the pictures]",
)
@click.option(
    "--engine",
    type=click.Choice(["openvino", "onnxruntime"]),
    help="Only this engine's thresholds.  [default: all]",
)
@click.option("--precision", help="Only this precision's thresholds.  [default: all]")
@click.option(
    "--int8", is_flag=True, help="First add an INT8 variant, if it judges parts as fp32 does."
)
@click.option(
    "--int8-search",
    is_flag=True,
    help="The same with PatchCore's search alone in INT8, for large memory banks: fp32's scores "
    "for parts that stand out, nearly so for others.",
)
@click.option("--force", is_flag=True, help="Go on although the pictures look like another part.")
@json_option
def command(bundle: Path, as_json: bool, **options: Any) -> None:
    """Set a bundle's thresholds from pictures of good parts, with a promise about false rejects.

    The promise holds whatever the scores look like, as long as the pictures are what the line makes
    and training has not seen them. Too few pictures: the best promise they allow is made, and the
    number needed is told. Old thresholds are kept; undo with: lineside thresholds BUNDLE rollback.

    With --int8 the networks and PatchCore's search through its bank are quantised first. Pictures
    that training has seen, if DIR has any, set the ranges and the memory bank, and never a
    threshold; without any, half of the pictures do.

    \b
    Example:
      lineside calibrate tile-patchcore --good photographs/good
      lineside calibrate tile-patchcore --good photographs/good --max-false-rejects 0.005 --confidence 0.9
      lineside calibrate tile-patchcore --good parts/tile/train/good --int8
      lineside calibrate tile-patchcore --good good --bad bad --cost-false-reject 1 --cost-missed 50 --bad-share 0.01
    """
    from runtime.errors import require_extra

    require_extra("calibrate", "sklearn", "scipy")
    if options["int8"] and options["int8_search"]:
        raise click.UsageError(
            "--int8 quantises the search too: expected one of --int8 and --int8-search"
        )
    if options["int8"]:
        require_extra("calibrate", "nncf")
    _check(options)
    source = click.get_current_context().get_parameter_source
    typed = {name for name in _PROMISE if source(name) is ParameterSource.COMMANDLINE}
    # Bad parts are needed for the gate; who asks for a promise as well does not want it to be given
    # up for them.
    options["keeps_promise"] = bool(typed) and options["cost_missed"] is None
    if options["on_average"] and "confidence" in typed:
        raise click.UsageError(
            "expected one of --confidence and --on-average, found both: an average has none"
        )
    from calibration.commands._calibrate import run

    run(bundle, options, as_json=as_json)


def _check(options: dict[str, Any]) -> None:
    costs = [options["cost_false_reject"], options["cost_missed"]]
    if any(cost is not None for cost in costs) and (None in costs or options["bad"] is None):
        raise click.UsageError(
            "costs need all three: --bad DIR --cost-false-reject X --cost-missed Y"
        )
    if options["bad_share"] is not None and None in costs:
        raise click.UsageError("--bad-share belongs to --cost-false-reject and --cost-missed")
