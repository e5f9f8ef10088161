"""What good parts' pictures look like, and from where on a picture cannot be judged: the content of health.json."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from runtime.health.statistics import STATISTICS
from runtime.types import Floats

HEALTH_FILE = "health.json"
PARTS_BETWEEN_FALSE_ALARMS = 100_000
TOLERATED_SHARE = 0.05


@dataclass(frozen=True)
class Limit:
    """Where a number stops being believable; None for no limit on that side."""

    low: float | None = None
    high: float | None = None

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
    min_height: int
    min_width: int


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
    score_limits: dict[str, float]
    values: dict[str, Floats]
    scores: dict[str, Floats]
    n_good: int
    refused_rate: float | None = None
    judge: bool = True
    drift: bool = True
    parts_between_false_alarms: int = PARTS_BETWEEN_FALSE_ALARMS
    tolerated_share: float = TOLERATED_SHARE
    note: str = ""
    set_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

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
                f"{width / height:.3g}, "
                f"{expected} expected"
            ]
        return []


def keep_settings(new: Health, old: Health | None) -> Health:
    """A new baseline with the old one's switches, and its scores and score limits of variants that the new one lacks."""
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


def _told(name: str, value: float, limit: Limit) -> str:
    statistic = STATISTICS[name]
    if limit.low is not None and value < limit.low:
        return f"{statistic.below}: {name} {statistic.shown(value)}, at least {statistic.shown(limit.low)} expected"
    high = limit.high if limit.high is not None else value
    return f"{statistic.above}: {name} {statistic.shown(value)}, at most {statistic.shown(high)} expected"
