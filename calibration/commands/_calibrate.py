"""The work behind ``lineside calibrate``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from calibration.calibrate import Calibration, Request, calibrate, check
from calibration.health import refresh_health
from calibration.labeled import Costs
from calibration.thresholds_file import require_folder, save
from calibration.variants import choose_variants
from runtime.bundle.folder import Bundle
from runtime.bundle.manifest import Variant
from runtime.console import emit_json, figure, percent, say, wide_console

# Image AUROC of fp32 from which on synthetic defects tell one variant from another.
_TELLING = 0.65


def run(path: Path, options: dict[str, Any], *, as_json: bool) -> None:
    """Calibrate, write, print."""
    require_folder(path)
    request = _request(options)
    if options["int8"] or options["int8_search"]:
        with Bundle.open(path) as bundle:
            _choose(bundle, options, also_int8=True)
            check(bundle, request)
        _add_int8(path, request, search_alone=options["int8_search"])
        if options["keeps_promise"]:
            request = dataclasses.replace(request, bad=None)
    with Bundle.open(path) as bundle:
        found = calibrate(bundle, request, _choose(bundle, options))
        save(bundle, found.thresholds)
        refresh_health(bundle, found.good)
    _tell(found, request)
    if not as_json:
        wide_console().print(_table(found))
        return
    for one in found.variants:
        emit_json(
            {
                "bundle": bundle.manifest.name,
                "category": bundle.manifest.category,
                **one.to_json(),
                "flips_against_first": found.flips(one),
                "suspects": [str(suspect) for suspect in found.suspects],
                "n_duplicates": len(found.good.duplicates),
                "n_learnt": len(found.good.learned),
                "n_skipped": len(found.good.skipped),
            }
        )


def _choose(
    bundle: Bundle, options: dict[str, Any], *, also_int8: bool = False
) -> Sequence[Variant]:
    """The variants to calibrate; with ``also_int8`` of the bundle as it will be."""
    manifest = bundle.manifest
    if also_int8:
        from calibration.int8.variant import INT8

        others = (one for one in manifest.variants if one.key != INT8.key)
        manifest = dataclasses.replace(manifest, variants=(*others, INT8))
    return choose_variants(manifest, options["engine"], options["precision"])


def _add_int8(path: Path, request: Request, *, search_alone: bool) -> None:
    from calibration.int8.variant import INT8, add_int8

    added = add_int8(path, request.good, request.bad, search_alone=search_alone)
    gate = added.gate
    on = f" on {gate.n_synthetic} synthetic defects" if gate.n_synthetic else ""
    left = f", {len(added.left_in_fp32)} layers left in fp32" if added.left_in_fp32 else ""
    say(
        f"{INT8.key} added: image AUROC{on} {gate.auroc_fp32:.4f} to {gate.auroc_int8:.4f}, rank "
        "correlation "
        f"{gate.rank_correlation:.3f}, {gate.flips} flips on {gate.n_good + gate.n_bad} unseen "
        "parts, "
        f"{added.times_faster:.2f} times as fast as fp32 on this machine{left}"
    )
    if gate.n_synthetic:
        little = ", which hardly stand out among these parts" if gate.auroc_fp32 < _TELLING else ""
        say(
            "no bad part has judged it: give pictures of some with --bad DIR, they say more than "
            "synthetic "
            f"defects{little}; together with --max-false-rejects RATE they judge it alone, and "
            "the promise stays"
        )


def _request(options: dict[str, Any]) -> Request:
    costs = None
    if options["cost_missed"] is not None:
        costs = Costs(options["cost_false_reject"], options["cost_missed"], options["bad_share"])
    return Request(
        good=options["good"],
        max_false_rejects=options["max_false_rejects"],
        confidence=None if options["on_average"] else options["confidence"],
        bad=options["bad"],
        costs=costs,
        force=options["force"],
    )


def _tell(found: Calibration, request: Request) -> None:
    for suspect in found.suspects:
        say(f"suspect: {suspect} scores like a bad part")
    if found.suspects:
        say(
            "look at the suspects: take out those that are bad and calibrate again; leave those "
            "that are good, "
            "for taking out good parts breaks the promise"
        )
    first = found.variants[0]
    if request.costs is not None and request.costs.bad_share is None and first.bad is not None:
        share = first.bad.scores.size / (first.bad.scores.size + first.good.scores.size)
        say(
            "warning: the line is taken to make as many bad parts as there are pictures of, "
            f"{percent(share)}; "
            "if it makes fewer, give their share with --bad-share, or too many good parts are "
            "rejected"
        )
    promised = first.promised
    if request.bad is None and not promised.is_kept:
        say(
            f"warning: {percent(promised.asked)} needs {promised.n_needed} good pictures, found "
            f"{promised.n_good}; "
            "the threshold is the highest score, and promises "
            f"{percent(promised.max_false_rejects)}"
        )


def _table(found: Calibration) -> Table:
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
