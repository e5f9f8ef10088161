"""``lineside calibrate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from runtime.options import json_option

if TYPE_CHECKING:
    from rich.table import Table

    from calibration.recalibration import Calibration, Request


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--good",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="Good parts as the line makes them; of learned ones only those that training left out in "
    "turn count.",
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
    and training has not seen them. Parts that PatchCore has learned count with the scores of a
    model that had not seen them; the promise is then an estimate. Too few pictures: the best
    promise they allow is made, and the number needed is told. Old thresholds are kept; undo with:
    lineside thresholds BUNDLE rollback.

    With --int8 the networks and PatchCore's search through its bank are quantized first. Pictures
    that training has seen, if DIR has any, set the ranges and the memory bank; without any, half of
    the pictures do. The others judge, or where they are fewer than five, learned ones mirrored.

    \b
    Example:
      lineside calibrate tile-patchcore --good photographs/good
      lineside calibrate tile-patchcore --good photographs/good --max-false-rejects 0.005
      lineside calibrate tile-patchcore --good parts/tile/train/good --int8
      lineside calibrate tile-patchcore --good good --bad bad --cost-false-reject 1 \\
        --cost-missed 50 --bad-share 0.01
    """
    from runtime.errors import require_extra

    require_extra("calibrate", "sklearn", "scipy")
    if options["int8"]:
        require_extra("calibrate", "nncf")
    typed = _typed("max_false_rejects", "confidence", "on_average")
    _refuse_contradictions(options, typed)
    from calibration.recalibration import recalibrate
    from runtime.console import emit_json, wide_console

    found = recalibrate(bundle, _request(options, typed))
    _tell(found)
    if not as_json:
        wide_console().print(_table(found))
        return
    for one in found.variants:
        emit_json(
            {
                "bundle": found.bundle,
                "category": found.category,
                **one.to_json(),
                "flips_against_first": found.flips(one),
                "suspects": [str(suspect) for suspect in found.suspects],
                "n_duplicates": len(found.good.duplicates),
                "n_learnt": len(found.good.learned),
                "n_left_out_scores": int(found.good.left_out.sum()),
                "n_skipped": len(found.good.skipped),
            }
        )


def _typed(*names: str) -> set[str]:
    """Which options the user gave; defaults do not count."""
    source = click.get_current_context().get_parameter_source
    return {name for name in names if source(name) is ParameterSource.COMMANDLINE}


def _refuse_contradictions(options: dict[str, Any], typed: set[str]) -> None:
    if options["int8"] and options["int8_search"]:
        raise click.UsageError(
            "--int8 quantizes the search too: expected one of --int8 and --int8-search"
        )
    costs = [options["cost_false_reject"], options["cost_missed"]]
    if costs != [None, None] and (None in costs or options["bad"] is None):
        raise click.UsageError(
            "costs need all three: --bad DIR --cost-false-reject X --cost-missed Y"
        )
    if options["bad_share"] is not None and None in costs:
        raise click.UsageError("--bad-share belongs to --cost-false-reject and --cost-missed")
    if options["on_average"] and "confidence" in typed:
        raise click.UsageError(
            "expected one of --confidence and --on-average, found both: an average has none"
        )


def _request(options: dict[str, Any], typed: set[str]) -> Request:
    from calibration.labeled import Costs
    from calibration.recalibration import Request

    costs = None
    if options["cost_missed"] is not None:
        costs = Costs(options["cost_false_reject"], options["cost_missed"], options["bad_share"])
    return Request(
        good=options["good"],
        max_false_rejects=options["max_false_rejects"],
        confidence=None if options["on_average"] else options["confidence"],
        bad=options["bad"],
        costs=costs,
        engine=options["engine"],
        precision=options["precision"],
        int8="search" if options["int8_search"] else "networks" if options["int8"] else None,
        # Bad parts are needed for the gate; who asks for a promise as well does not want it to be
        # given up for them.
        bad_judge_int8=bool(typed) and costs is None,
        force=options["force"],
    )


def _tell(found: Calibration) -> None:
    from runtime.console import percent, say

    for suspect in found.suspects:
        say(f"suspect: {suspect} scores like a bad part")
    if found.suspects:
        say(
            "look at the suspects: take out those that are bad and calibrate again; leave those "
            "that are good, for taking out good parts breaks the promise"
        )
    first, request = found.variants[0], found.request
    if request.costs is not None and request.costs.bad_share is None and first.bad is not None:
        share = first.bad.size / (first.bad.size + first.good.size)
        say(
            "warning: the line is taken to make as many bad parts as there are pictures of, "
            f"{percent(share)}; if it makes fewer, give their share with --bad-share, or too many "
            "good parts are rejected"
        )
    promised = first.promised
    if request.bad is None and not promised.is_kept:
        say(
            f"warning: {percent(promised.asked)} needs {promised.n_needed} good pictures, found "
            f"{promised.n_good}; the threshold is the highest score, and promises "
            f"{percent(promised.max_false_rejects)}"
        )


def _table(found: Calibration) -> Table:
    from rich.table import Table

    from runtime.console import figure

    table = Table(box=None, pad_edge=False)
    for name in ("variant", "method"):
        table.add_column(name, no_wrap=True)
    for name in ("image threshold", "before", "pixel threshold", "flips"):
        table.add_column(name, justify="right")
    table.add_column("promise")
    for one in found.variants:
        before = None if one.previous is None else one.previous.image_threshold
        table.add_row(
            one.variant,
            one.threshold.method,
            figure(one.threshold.image_threshold, 4),
            figure(before, 4),
            figure(one.threshold.pixel_threshold, 4),
            str(found.flips(one)),
            one.threshold.note,
        )
    return table
