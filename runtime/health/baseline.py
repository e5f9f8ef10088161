"""health.json: what good parts' pictures look like, and from where on one cannot be judged.

It is written at export and by calibration, may be edited on the box, and is read strictly.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec

from runtime import atomic
from runtime.bundle.sealing import SEAL, Seal, seal_of
from runtime.decode import PLAUSIBLE, Count, Number, Positive, Share, read_json
from runtime.errors import HealthError
from runtime.health.statistics import STATISTICS
from runtime.types import Floats

HEALTH_VERSION = 1
HEALTH_FILE = "health.json"
PARTS_BETWEEN_FALSE_ALARMS = 100_000
TOLERATED_SHARE = 0.05
_ADVICE = "make it anew with: lineside calibrate BUNDLE --good DIR"


class Limit(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Where a number stops being believable; None for no limit on that side."""

    low: Number | None
    high: Number | None

    def __post_init__(self) -> None:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"expected low before high, found {self.low:g} and {self.high:g}")

    def holds(self, value: float) -> bool:
        """Whether the value lies within, the limits included."""
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)


@dataclass(frozen=True)
class PictureSize:
    """What size the camera's pictures have.

    Attributes:
        aspect: limits of width / height.
        min_height: in pixels; a smaller picture lacks what the model looks at.
        min_width: in pixels.
    """

    aspect: Limit
    min_height: Positive
    min_width: Positive


@dataclass(frozen=True)
class Health:
    """All of health.json.

    Attributes:
        limits: by name of the statistic; outside of them a picture cannot be judged.
        size: of the camera's pictures, or None for any.
        score_limits: raw score above which no part was ever meant to be, by variant key.
        values: of good parts, by name of the statistic, each (n,).
        scores: raw scores of good parts that training has not seen, by variant key, each (n,).
        n_good: number of good parts behind the limits.
        refused_rate: promised share of good parts that the limits refuse, on average; None when
            limits were set by hand.
        judge: whether pictures outside the limits get ``cannot_judge``.
        drift: whether the drift test runs.
        parts_between_false_alarms: average number of parts from one false alarm of the drift test
            to the next, at least.
        tolerated_share: share of parts that may look however they like, e.g. bad ones, without the
            drift test minding.
        note: one sentence for people.
        set_at: UTC time, ISO 8601.
    """

    limits: dict[str, Limit]
    size: PictureSize | None
    score_limits: dict[str, Number]
    values: dict[str, Floats]
    scores: dict[str, Floats]
    n_good: Count
    refused_rate: Share | None = None
    judge: bool = True
    drift: bool = True
    parts_between_false_alarms: Annotated[int, msgspec.Meta(ge=100, le=PLAUSIBLE)] = (
        PARTS_BETWEEN_FALSE_ALARMS
    )
    tolerated_share: Annotated[float, msgspec.Meta(ge=0, le=0.5)] = TOLERATED_SHARE
    note: str = ""
    set_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def __post_init__(self) -> None:
        for name in (*self.limits, *self.values):
            if name not in STATISTICS:
                raise ValueError(f"expected the statistics {', '.join(STATISTICS)}, found {name!r}")
        for name, limit in self.limits.items():
            STATISTICS[name].check(one for one in (limit.low, limit.high) if one is not None)
        for name, values in self.values.items():
            STATISTICS[name].check(values)

    def reason(
        self,
        measured: dict[str, float],
        size_hw: tuple[int, int],
        model_hw: tuple[int, int],
        variant_key: str,
        score: float,
    ) -> str:
        """Why a picture cannot be judged; empty if it can.

        Args:
            measured: its statistics.
            size_hw: its own height and width in pixels.
            model_hw: of the model's input; a picture of that very size was resized before, so its
                own is not known.
            variant_key: ``engine/precision``.
            score: its raw score.
        """
        if not self.judge:
            return ""
        found = [] if size_hw == model_hw else self._size_problems(size_hw)
        for name, limit in self.limits.items():
            if name in measured and not limit.holds(measured[name]):
                found.append(_told(name, measured[name], limit))
        most = self.score_limits.get(variant_key)
        if most is not None and score > most:
            found.append(
                f"raw score {score:.4g} is far beyond anything calibrated (at most {most:.4g} can "
                "be believed)"
            )
        return "; ".join(found)

    def _size_problems(self, size_hw: tuple[int, int]) -> list[str]:
        if self.size is None:
            return []
        height, width = size_hw
        if height < self.size.min_height or width < self.size.min_width:
            least = f"{self.size.min_width}x{self.size.min_height}"
            return [f"picture too small: {width}x{height} pixels, at least {least} expected"]
        if not self.size.aspect.holds(width / height):
            low, high = self.size.aspect.low, self.size.aspect.high
            expected = " to ".join(f"{limit:.3g}" for limit in (low, high) if limit is not None)
            return [
                f"wrong shape of picture: {width}x{height} pixels, width / height "
                f"{width / height:.3g}, {expected} expected"
            ]
        return []


def keep_settings(new: Health, old: Health | None) -> Health:
    """A new baseline with the old one's switches, and its scores of variants that it lacks."""
    if old is None:
        return new
    return replace(
        new,
        score_limits={**old.score_limits, **new.score_limits},
        scores={**old.scores, **new.scores},
        judge=old.judge,
        drift=old.drift,
        parts_between_false_alarms=old.parts_between_false_alarms,
        tolerated_share=old.tolerated_share,
    )


def read_health(path: Path, seal: Seal = "optional") -> Health:
    """Read health.json.

    Args:
        path: the file.
        seal: what is asked of its seal.

    Raises:
        HealthError: unreadable, no JSON, another version, a field missing, unknown or of the wrong
            type, a value that makes no sense, or a seal that does not belong to what the file says.
    """
    return read_json(
        path,
        Health,
        error=HealthError,
        advice=_ADVICE,
        version=HEALTH_VERSION,
        known_only=True,
        complete=True,
        sealed=(seal, "if it is right as it is, type: lineside health BUNDLE --seal"),
    )


def write_health(path: Path, health: Health) -> None:
    """Write health.json, sealed; the last good state survives a crash or a full disk.

    Raises:
        OSError: the folder cannot be written.
    """
    fields: dict[str, Any] = {
        "schema_version": HEALTH_VERSION,
        "judge": health.judge,
        "drift": health.drift,
        "parts_between_false_alarms": health.parts_between_false_alarms,
        "tolerated_share": health.tolerated_share,
        "limits": {name: _pair(limit) for name, limit in health.limits.items()},
        "size": None
        if health.size is None
        else {**asdict(health.size), "aspect": _pair(health.size.aspect)},
        "score_limits": {key: _short(most) for key, most in sorted(health.score_limits.items())},
        "n_good": health.n_good,
        "refused_rate": health.refused_rate,
        "note": health.note,
        "set_at": health.set_at,
        "scores": {key: [*map(_short, found)] for key, found in sorted(health.scores.items())},
        "values": {
            name: [round(float(one), 4) for one in found] for name, found in health.values.items()
        },
    }
    fields[SEAL] = seal_of(json.loads(json.dumps(fields, allow_nan=False)))
    # One field a line: short enough to read, and to edit by hand.
    lines = ",\n".join(
        f"  {json.dumps(name)}: {json.dumps(one, ensure_ascii=False, allow_nan=False)}"
        for name, one in fields.items()
    )
    atomic.write_bytes(path, f"{{\n{lines}\n}}\n".encode())


def _short(score: float) -> float:
    return float(f"{score:.6g}")


def _pair(limit: Limit) -> list[float | None]:
    return [None if one is None else round(one, 4) for one in (limit.low, limit.high)]


def _told(name: str, value: float, limit: Limit) -> str:
    statistic = STATISTICS[name]
    if limit.low is not None and value < limit.low:
        wrong, bound = statistic.below, f"at least {statistic.shown(limit.low)}"
    else:
        high = value if limit.high is None else limit.high
        wrong, bound = statistic.above, f"at most {statistic.shown(high)}"
    return f"{wrong}: {name} {statistic.shown(value)}, {bound} expected"
