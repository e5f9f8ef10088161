"""The work behind ``lineside verify``."""

from __future__ import annotations

from pathlib import Path

import click

from runtime.bundle.folder import Bundle
from runtime.bundle.golden import Parity, replay_golden
from runtime.bundle.manifest import Variant
from runtime.console import emit_json, say
from runtime.engines.base import empty_model_cache
from runtime.errors import BundleError, MissingExtraError, ParityError
from runtime.inspector import Inspector


def run(
    path: Path, engine: str | None, precision: str | None, device: str, *, as_json: bool
) -> None:
    """Replay the golden images on each chosen variant.

    Raises:
        BundleError: the bundle is unusable, or has no such variant.
        ParityError: a variant is out of bounds on this device.
    """
    with Bundle.open(path) as bundle:
        chosen = _choose(bundle, engine, precision)
        if engine is None and device not in ("CPU", "AUTO"):
            # ONNX Runtime has no such device here; who asks for it by name is told so.
            chosen = [variant for variant in chosen if variant.engine == "openvino"]
        replayed = [
            _replay(bundle, variant, device, required=engine is not None) for variant in chosen
        ]
    results = [parity for parity in replayed if parity is not None]
    if not results:
        raise BundleError(
            f"{path}: expected an installed engine for "
            f"{', '.join(v.key for v in chosen) or device}, found none; "
            "type: pip install 'lineside[onnxruntime]'"
        )
    for parity in results:
        _print(parity, as_json=as_json)
    failed = [parity for parity in results if not parity.holds]
    if failed:
        raise ParityError(
            f"{path}: expected scores and maps within {failed[0].bound:g} of their range and no "
            f"verdict flip on {device}, found "
            f"{failed[0].max_score_difference:.2e}, {failed[0].p99_map_difference:.2e} and "
            f"{failed[0].verdict_flips} flips "
            f"with {failed[0].variant}; "
            "do not inspect with this device: use --device CPU, or update its driver"
        )


def _choose(bundle: Bundle, engine: str | None, precision: str | None) -> list[Variant]:
    variants = bundle.manifest.variants
    chosen = [
        v for v in variants if engine in (None, v.engine) and precision in (None, v.precision)
    ]
    if not chosen:
        have = ", ".join(v.key for v in variants)
        raise BundleError(
            f"{bundle.source}: expected a variant for {engine or 'any'}/{precision or 'any'}, "
            f"found {have}"
        )
    return chosen


def _replay(bundle: Bundle, variant: Variant, device: str, *, required: bool) -> Parity | None:
    """Parity of one variant, or None for an engine that is not installed and that nobody asked for by name."""
    try:
        found = _replay_once(bundle, variant, device)
    except MissingExtraError as error:
        if required:
            raise
        say(f"skipped {variant.key}: {error}")
        return None
    if found.holds or variant.engine != "openvino" or not empty_model_cache():
        return found
    # The bundle's files are checked whenever it is opened; what was compiled from them and kept is
    # not.
    say(
        f"{variant.key}: out of bounds; trying once more with the model compiled anew, for the "
        "cached one may be damaged"
    )
    return _replay_once(bundle, variant, device)


def _replay_once(bundle: Bundle, variant: Variant, device: str) -> Parity:
    with Inspector(
        bundle, engine=variant.engine, precision=variant.precision, device=device
    ) as inspector:
        return replay_golden(bundle, inspector)


def _print(parity: Parity, *, as_json: bool) -> None:
    if as_json:
        emit_json(parity.to_json())
        return
    click.echo(
        f"{'ok' if parity.holds else 'FAILED':<7}{parity.variant} on {parity.device}: "
        f"{parity.images} golden images, "
        f"score difference max {parity.max_score_difference:.1e} p99 "
        f"{parity.p99_score_difference:.1e} of the range "
        f"(allowed {parity.bound:g}), map difference max {parity.max_map_difference:.1e} p99 "
        f"{parity.p99_map_difference:.1e}, "
        f"{parity.verdict_flips} verdict flips"
    )
