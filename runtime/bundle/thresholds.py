"""thresholds.json: raw-score thresholds per variant, editable on the box without a new export.

A part is anomalous when its raw ``pred_score`` is strictly greater than ``image_threshold``.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec

from runtime import atomic
from runtime.bundle.sealing import SEAL, Seal, seal_of
from runtime.decode import PLAUSIBLE, Count, Number, read_json
from runtime.errors import ThresholdError

THRESHOLDS_FILE = "thresholds.json"
THRESHOLDS_VERSION = 1
_Whole = Annotated[int, msgspec.Meta(ge=-PLAUSIBLE, le=PLAUSIBLE)]


@dataclass(frozen=True)
class Threshold:
    """Where good ends, for one variant.

    Attributes:
        image_threshold: raw score above which a part is anomalous.
        pixel_threshold: raw anomaly-map value (after up-sampling and blur) above which a pixel is
            anomalous.
        median_good_score: raw score of a typical good part; anchors the normalised score.
        method: how it was set, e.g. ``"conformal"``, ``"leave_one_out"``, ``"f1_max"``,
            ``"manual"``.
        n_good: number of good images behind it.
        max_false_rejects: promised share of good parts rejected, or None if nothing is promised;
            of ``"leave_one_out"`` what is expected, and nothing is proven.
        confidence: probability that the promise holds over the draw of the good images, or None.
        note: one sentence for people.
        set_at: UTC time, ISO 8601.
    """

    image_threshold: Number
    pixel_threshold: Number
    median_good_score: Number
    method: str
    n_good: Count
    max_false_rejects: Number | None = None
    confidence: Number | None = None
    note: str = ""
    set_at: str = ""

    def __post_init__(self) -> None:
        for name in ("image_threshold", "pixel_threshold", "median_good_score"):
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not math.isfinite(value):
                raise ThresholdError(
                    f"{name}: expected a finite number, found {value!r:.40}; set it again"
                )
            if abs(value) > PLAUSIBLE:
                raise ThresholdError(
                    f"{name}: expected a plausible number, at most {PLAUSIBLE:g}, "
                    f"found {value:g}; set it again"
                )

    @property
    def promises_nothing(self) -> bool:
        """Whether so few good parts are behind it that it was extrapolated."""
        return self.method == "prediction_bound"

    def normalized_score(self, raw_score: float) -> float:
        """Map a raw score to [0, 1]: a typical good part 0, the threshold 0.5, as far beyond 1."""
        span = max(self.image_threshold - self.median_good_score, 1e-12)
        return min(max(0.5 + 0.5 * (raw_score - self.image_threshold) / span, 0.0), 1.0)


@dataclass(frozen=True)
class Thresholds:
    """All of thresholds.json.

    Attributes:
        variants: threshold by variant key, ``engine/precision``.
        history: earlier states, oldest first, each a dict with ``variant`` and the fields of
            :class:`Threshold`.
        model: fingerprint of the model whose scores they belong to; empty where nobody has said.
    """

    variants: dict[str, Threshold]
    history: tuple[dict[str, bool | _Whole | Number | str | None], ...] = ()
    model: str = ""

    def of(self, variant_key: str) -> Threshold:
        """Threshold of a variant.

        Raises:
            ThresholdError: none is recorded; the message lists those that are.
        """
        if variant_key not in self.variants:
            have = ", ".join(sorted(self.variants)) or "none"
            raise ThresholdError(
                f"thresholds.json: expected a threshold for {variant_key}, found {have}; "
                "set one with: lineside calibrate BUNDLE --good DIR"
            )
        return self.variants[variant_key]

    def with_threshold(self, variant_key: str, threshold: Threshold) -> Thresholds:
        """A copy with one threshold replaced and the old one kept in the history."""
        stamped = (
            threshold
            if threshold.set_at
            else replace(threshold, set_at=datetime.now(UTC).isoformat(timespec="seconds"))
        )
        old = self.variants.get(variant_key)
        history = (
            self.history
            if old is None
            else (*self.history, {"variant": variant_key, **asdict(old)})
        )
        return replace(self, variants={**self.variants, variant_key: stamped}, history=history)


def read_thresholds(path: Path, seal: Seal = "optional") -> Thresholds:
    """Read thresholds.json.

    Args:
        path: the file.
        seal: what is asked of its seal.

    Raises:
        ThresholdError: missing, no JSON, another version, a value that is no plausible number, or a
            seal that does not belong to what the file says.
    """
    return read_json(
        path,
        Thresholds,
        error=ThresholdError,
        advice="set thresholds again with: lineside calibrate",
        version=THRESHOLDS_VERSION,
        known_only=True,
        sealed=(seal, "if it is right as it is, type: lineside thresholds BUNDLE seal"),
    )


def write_thresholds(path: Path, thresholds: Thresholds) -> None:
    """Write thresholds.json, sealed; the last good state survives a crash or a full disk."""
    value = {
        "schema_version": THRESHOLDS_VERSION,
        "variants": {
            key: asdict(threshold) for key, threshold in sorted(thresholds.variants.items())
        },
        "history": list(thresholds.history),
        **({"model": thresholds.model} if thresholds.model else {}),
    }
    # As a reader will find it.
    stored = json.loads(atomic.readable(json.dumps(value, allow_nan=False)))
    atomic.write_json(path, {**stored, SEAL: seal_of(stored)})
