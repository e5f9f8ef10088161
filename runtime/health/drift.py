"""Do the good parts still look as calibrated? A test over raw scores and picture statistics."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from runtime.decode import Count
from runtime.health.baseline import Health
from runtime.health.martingale import Ranks, ShiryaevRoberts, Side, bets
from runtime.health.statistics import STATISTICS
from runtime.types import Floats

RAW_SCORE = "raw_score"
# An alarm ends when this many parts in a row look like those before the change again.
RECOVERY_PARTS = 50
# Their mean rank then lies within this of the middle: 3.7 standard deviations of a mean of 50
# uniform ranks.
_RECOVERY_WITHIN = 0.15


@dataclass(frozen=True)
class Alarm:
    """The good parts no longer look like the calibrated ones.

    Attributes:
        statistic: the number that changed most: ``raw_score`` or the name of a picture statistic.
        side: ``low`` or ``high``.
        since_part: the part since which about, from 1.
        noticed_part: the part at which the test gave the alarm.
    """

    statistic: str
    side: Side
    since_part: Count
    noticed_part: Count

    def sentence(self) -> str:
        """The alarm in one sentence for people."""
        return (
            f"drift: since about part {self.since_part} the pictures no longer look like the "
            f"calibrated good parts: {_words(self.statistic, self.side)} (noticed at part "
            f"{self.noticed_part}); check the camera, the light and the material, "
            "or calibrate again"
        )

    def to_json(self) -> dict[str, Any]:
        """The field ``drift`` of ``watch --json``."""
        return {
            "statistic": self.statistic,
            "side": self.side,
            "what": _words(self.statistic, self.side),
            "since_part": self.since_part,
            "noticed_part": self.noticed_part,
        }


class DriftMonitor:
    """The drift test of one stream of parts.

    Without any change the average number of parts from one false alarm to the next is at least
    ``health.parts_between_false_alarms``; see :mod:`runtime.health.martingale` for the theory and
    what it asks for.

    Args:
        health: the baseline.
        variant_key: ``engine/precision``; chooses the calibrated scores.
        seed: of the ties' order; None for a fresh one.

    Attributes:
        alarm: the alarm in force, or None.
        ranks: the values seen, by name of the number.
        bets: the evidence.
        recent: ranks of the changed number since the alarm, at most 50.
    """

    def __init__(self, health: Health, variant_key: str, seed: int | None = None) -> None:
        self.health = health
        self.variant_key = variant_key
        self.alarm: Alarm | None = None
        calibrated = {name: health.values[name] for name in STATISTICS if name in health.values}
        # Scores need no calibration to be watched: the first parts then are what later ones are
        # compared with.
        scores = health.scores.get(variant_key, np.empty(0))
        self.ranks = {
            name: Ranks(Counter(_rounded(name, float(value)) for value in values).items())
            for name, values in {RAW_SCORE: scores, **calibrated}.items()
        }
        self.bets = ShiryaevRoberts(len(self.ranks))
        self.recent: deque[float] = deque(maxlen=RECOVERY_PARTS)
        self._rng = np.random.default_rng(seed)

    @property
    def parts(self) -> int:
        """Number of parts seen."""
        return self.bets.parts

    def update(self, statistics: dict[str, float], raw_score: float) -> Alarm | None:
        """Take in a part, whatever its verdict.

        Args:
            statistics: of its picture.
            raw_score: finite.

        Returns:
            The alarm in force after it, or None.
        """
        seen = {RAW_SCORE: raw_score, **statistics}
        # While it is in force, the alarm's parts are compared with those before it and never become
        # part of them.
        keep = self.alarm is None
        ties = self._rng.random(len(self.ranks))
        ranks = np.array(
            [
                known.rank(_rounded(name, seen[name]), float(tie), keep=keep)
                if name in seen
                else np.nan
                for (name, known), tie in zip(self.ranks.items(), ties, strict=True)
            ]
        )
        if not keep:
            return self._after_alarm(ranks)
        evidence = self.bets.update(bets(ranks, self.health.tolerated_share))
        if evidence >= self.health.parts_between_false_alarms:
            number, side, since = self.bets.strongest()
            self.alarm = Alarm(list(self.ranks)[number], side, since, self.parts)
            self.recent.clear()
        return self.alarm

    def _after_alarm(self, ranks: Floats) -> Alarm | None:
        self.bets.parts += 1
        rank = float(ranks[list(self.ranks).index(self.alarm.statistic)]) if self.alarm else np.nan
        if not np.isnan(rank):
            self.recent.append(rank)
        if (
            len(self.recent) == RECOVERY_PARTS
            and abs(float(np.mean(self.recent)) - 0.5) <= _RECOVERY_WITHIN
        ):
            self.alarm = None
            self.bets.reset()
        return self.alarm


def _rounded(name: str, value: float) -> float:
    """To a grid that no data has chosen: for months the collection stays small, the ranks exact."""
    return float(f"{value:.4g}") if name == RAW_SCORE else round(value, 3)


def _words(statistic: str, side: Side) -> str:
    change = "lower" if side == "low" else "higher"
    if statistic == RAW_SCORE:
        return f"raw score {change}"
    known = STATISTICS[statistic]
    return f"{known.below if side == 'low' else known.above} ({statistic} {change})"
