"""Accuracy against latency: the Pareto front, and the best within a budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Measured:
    """One variant, measured on this machine.

    Attributes:
        model: patchcore or efficientad.
        side: height and width of the input in pixels.
        prototypes: rows of PatchCore's bank; None for EfficientAD.
        engine: openvino or onnxruntime.
        precision: e.g. fp32.
        auroc: image AUROC, in [0, 1].
        p50_ms: median from file to verdict.
        p95_ms: 95th percentile; held against the budget.
        peak_rss_mib: peak memory of a process that inspects with it.
        cold_start_ms: process start to first verdict, model cache warm.
    """

    model: str
    side: int
    prototypes: int | None
    engine: str
    precision: str
    auroc: float
    p50_ms: float
    p95_ms: float
    peak_rss_mib: float
    cold_start_ms: float

    @property
    def title(self) -> str:
        """For people."""
        bank = "" if self.prototypes is None else f", {self.prototypes} prototypes"
        return f"{self.model} {self.side} px{bank}, {self.engine}/{self.precision}"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, rounded to what was measured."""
        digits = {"auroc": 4, "p50_ms": 3, "p95_ms": 3, "peak_rss_mib": 1, "cold_start_ms": 1}
        return {
            key: round(value, digits[key]) if key in digits else value
            for key, value in asdict(self).items()
        }


@dataclass(frozen=True)
class Budget:
    """What the box can afford; None is no limit.

    Attributes:
        max_latency_ms: for the 95th percentile from file to verdict.
        max_memory_mib: for the peak memory of the process.
    """

    max_latency_ms: float | None = None
    max_memory_mib: float | None = None

    def excess(self, found: Measured) -> float:
        """By what factor the tighter limit is exceeded; at most 1 means that it fits."""
        used = [0.0]
        if self.max_latency_ms is not None:
            used.append(found.p95_ms / self.max_latency_ms)
        if self.max_memory_mib is not None:
            used.append(found.peak_rss_mib / self.max_memory_mib)
        return max(used)

    def allows(self, found: Measured) -> bool:
        """Whether the variant fits."""
        return self.excess(found) <= 1.0

    def __str__(self) -> str:
        limits = []
        if self.max_latency_ms is not None:
            limits.append(f"{self.max_latency_ms:g} ms")
        if self.max_memory_mib is not None:
            limits.append(f"{self.max_memory_mib:g} MiB")
        return " and ".join(limits) or "no limit"


def pareto(found: Sequence[Measured]) -> list[Measured]:
    """Variants that no other beats in accuracy without being slower; the fastest first."""
    front: list[Measured] = []
    for one in sorted(found, key=lambda m: (m.p50_ms, -m.auroc)):
        if not front or one.auroc > front[-1].auroc:
            front.append(one)
    return front


def preference(one: Measured) -> tuple[float, float, float]:
    """Sort key, best last: accuracy first; among equals the faster, then the smaller."""
    return one.auroc, -one.p95_ms, -one.peak_rss_mib


def best_within(found: Sequence[Measured], budget: Budget) -> Measured | None:
    """The most accurate variant that fits; the faster one among equals; None if none fits."""
    return max((one for one in found if budget.allows(one)), key=preference, default=None)


def nearest(found: Sequence[Measured], budget: Budget) -> Measured:
    """The variant that exceeds the budget least.

    Raises:
        ValueError: nothing was measured.
    """
    return min(found, key=budget.excess)
