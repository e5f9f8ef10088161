"""The drift test of a running line: made anew when the baseline changes, kept over a restart."""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np

from runtime import atomic
from runtime.decode import Count, Number, Positive, read_json
from runtime.errors import HealthError
from runtime.health.baseline import Health
from runtime.health.drift import Alarm, DriftMonitor
from runtime.health.martingale import Ranks

log = logging.getLogger("lineside")

# A crash loses at most what the test has learnt in this time; the file may have a megabyte, and
# small boxes have flash.
SAVE_EVERY_S = 60.0
_Worth = Annotated[float, msgspec.Meta(ge=0)]


@dataclass(frozen=True)
class DriftState:
    """The file of a drift test: what it has learnt.

    Attributes:
        baseline: :func:`fingerprint` of what it compares with.
        parts: number of parts seen.
        alarm: in force, or None.
        recent: see :class:`DriftMonitor`.
        ranks: values with how often each was seen, by name of the number.
        sums: see :class:`runtime.health.martingale.ShiryaevRoberts`, as ``page`` and ``starts``.
    """

    drift_state_version: Literal[1]
    baseline: str
    parts: Count
    alarm: Alarm | None
    recent: list[Number]
    ranks: dict[str, list[tuple[Number, Positive]]]
    sums: list[list[list[_Worth]]]
    page: list[list[list[_Worth]]]
    starts: list[list[list[Count]]]


class DriftWatch:
    """Feeds a stream of parts to the drift test.

    Args:
        state: file that keeps what the test has learnt over a restart; None for memory alone.
    """

    def __init__(self, state: Path | None = None) -> None:
        self._state = state
        self._health: Health | None = None
        self._monitor: DriftMonitor | None = None
        self._saved_at = time.monotonic()

    @property
    def test(self) -> DriftMonitor | None:
        """The test that is running, or None."""
        return self._monitor

    @property
    def alarm(self) -> Alarm | None:
        """The alarm in force, or None."""
        return None if self._monitor is None else self._monitor.alarm

    def see(
        self,
        health: Health | None,
        variant_key: str,
        statistics: dict[str, float] | None,
        raw_score: float,
    ) -> Alarm | None:
        """Take in a part, and save now and then; not safe to call from several threads at once.

        Args:
            health: the baseline in force.
            variant_key: ``engine/precision``.
            statistics: of the part's picture; None where they were not taken.
            raw_score: of the part.

        Returns:
            The alarm in force after it; None where there is no baseline or its drift test is
            switched off.

        Raises:
            HealthError: the file of the state is damaged, or no such file.
        """
        self.begin(health, variant_key)
        if self._monitor is None or statistics is None:
            return None
        alarm = self._monitor.update(statistics, raw_score)
        if time.monotonic() - self._saved_at >= SAVE_EVERY_S:
            self.save()
        return alarm

    def begin(self, health: Health | None, variant_key: str) -> None:
        """Make the test ready for the baseline in force; drop it where there is none or it is off.

        Raises:
            HealthError: the file of the state is damaged, or no such file.
        """
        if health is None or not health.drift:
            self._monitor = None
        elif self._monitor is None or health is not self._health:
            self._monitor = self._renewed(health, variant_key)
        self._health = health

    def save(self) -> None:
        """Write the state; one that cannot be written is told and costs this run's memory alone."""
        if self._state is None or self._monitor is None:
            return
        self._saved_at = time.monotonic()
        try:
            atomic.write_bytes(self._state, msgspec.json.encode(state_of(self._monitor)))
        except OSError as error:
            log.info(
                f"{self._state}: expected to write it, but {error.strerror}; check the disk and "
                "the folder's owner"
            )

    def _renewed(self, health: Health, variant_key: str) -> DriftMonitor:
        known = self._monitor
        now = fingerprint(health, variant_key)
        if known is not None and now == fingerprint(known.health, variant_key):
            # Only a setting was edited: what the test has learnt stays.
            known.health = health
            return known
        if known is None and self._state is not None and self._state.exists():
            found = read_state(self._state, health, variant_key)
            if found is not None:
                return found
            log.info(f"{self._state}: of another baseline; the drift test begins anew")
        return DriftMonitor(health, variant_key)


def fingerprint(health: Health, variant_key: str) -> str:
    """Digest of what the drift test compares with: another one is another test."""
    digest = hashlib.sha256(variant_key.encode())
    for values in (health.scores.get(variant_key, np.empty(0)), *health.values.values()):
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()[:16]


def state_of(monitor: DriftMonitor) -> DriftState:
    """What the test has learnt."""
    return DriftState(
        drift_state_version=1,
        baseline=fingerprint(monitor.health, monitor.variant_key),
        parts=monitor.parts,
        alarm=monitor.alarm,
        recent=list(monitor.recent),
        ranks={name: ranks.counts() for name, ranks in monitor.ranks.items()},
        sums=monitor.bets.sums.tolist(),
        page=monitor.bets.page.tolist(),
        starts=monitor.bets.starts.tolist(),
    )


def read_state(path: Path, health: Health, variant_key: str) -> DriftMonitor | None:
    """Go on with a test.

    Args:
        path: written by :meth:`DriftWatch.save`.
        health: the baseline in force.
        variant_key: ``engine/precision``.

    Returns:
        The test, or None if the file belongs to another baseline.

    Raises:
        HealthError: unreadable or damaged.
    """
    advice = "expected the state of a drift test; name another file, or delete it to begin anew"
    state = read_json(path, DriftState, error=HealthError, advice=advice)
    if state.baseline != fingerprint(health, variant_key):
        return None
    monitor = DriftMonitor(health, variant_key)
    try:
        _fill(monitor, state)
    except Exception as error:
        raise HealthError(f"{path}: {error}; {advice}") from error
    return monitor


def _fill(monitor: DriftMonitor, state: DriftState) -> None:
    names = list(monitor.ranks)
    if list(state.ranks) != names:
        raise ValueError(f"ranks: expected {', '.join(names)}, found {', '.join(state.ranks)}")
    if state.alarm is not None and state.alarm.statistic not in names:
        raise ValueError(f"alarm: expected one of {', '.join(names)}, found another")
    for name in ("sums", "page", "starts"):
        ours = getattr(monitor.bets, name)
        found = np.array(getattr(state, name), dtype=ours.dtype)
        if found.shape != ours.shape:
            raise ValueError(f"{name}: expected {ours.shape} numbers, found {found.shape}")
        setattr(monitor.bets, name, found)
    monitor.bets.parts, monitor.alarm = state.parts, state.alarm
    monitor.ranks.update({name: Ranks(counts) for name, counts in state.ranks.items()})
    monitor.recent.extend(state.recent)
