"""Whether a bundle can judge on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Unpack

from runtime.bundle.folder import Bundle
from runtime.doctor.finding import Finding, guarded
from runtime.engines.base import EngineOptions


def bundle_findings(path: Path, **engine: Unpack[EngineOptions]) -> Iterator[Finding]:
    """Every file's hash, the seals, and the golden pictures through one engine.

    ``lineside verify`` looks at every engine and precision instead.

    Args:
        path: of a bundle.
        **engine: as for :class:`runtime.inspector.Inspector`.
    """
    yield from guarded("bundle", _findings(path, engine))


def _findings(path: Path, engine: EngineOptions) -> Iterator[Finding]:
    from runtime.bundle.golden import replay_golden
    from runtime.inspector import Inspector

    with Bundle.open(path) as bundle:
        if missing := bundle.missing_health():
            found, _, advice = missing.partition("; ")
            yield Finding("bundle", "fault", found, advice)
        for name in bundle.unsealed():
            yield Finding(
                "bundle",
                "warning",
                f"{path}: {name} has no seal, so that an edit or damage would not show",
                f"look at it, then type: lineside thresholds {path} seal, or: lineside health "
                f"{path} --seal",
            )
        if bundle.manifest.is_blank:
            yield Finding(
                "bundle",
                "warning",
                f"{path}: has learned no part yet, and judges none",
                "teach it one: at /teach of its station, or with lineside teach",
            )
        with Inspector(bundle, blank_too=True, **engine) as inspector:
            bundle.thresholds()
            bundle.health()
            parity = replay_golden(bundle, inspector)
    told = (
        f"{path}: {parity.variant} on {parity.device}, {parity.images} golden pictures within "
        f"{max(parity.max_score_difference, parity.p99_map_difference):.1e} of their range"
    )
    if parity.holds:
        yield Finding("bundle", "ok", told)
        return
    yield Finding(
        "bundle",
        "fault",
        f"{told} (allowed {parity.bound:g}), {parity.verdict_flips} verdict flips",
        f"do not inspect with this device; type: lineside verify {path}, and use --device CPU or "
        "another driver",
    )
