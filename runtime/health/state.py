"""The drift test of a running line: made anew when the baseline changes, kept over a restart if a file is named."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from runtime import atomic
from runtime.errors import HealthError
from runtime.health.baseline import Health
from runtime.health.drift import Alarm, DriftMonitor
from runtime.health.martingale import SIDES, Ranks
from runtime.inspector import Inspector
from runtime.prediction import Prediction

log = logging.getLogger("lineside")

STATE_VERSION = 1
# A crash loses at most what the test has learnt in this time; the file may have a megabyte, and
# small boxes have flash.
SAVE_EVERY_S = 60.0


class DriftWatch:
    """Feeds a stream of predictions to the drift test.

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

    def see(self, inspector: Inspector, prediction: Prediction) -> Alarm | None:
        """Take in a part, and save now and then; not safe to call from several threads at once.

        Args:
            inspector: whose baseline is in force.
            prediction: of the part.

        Returns:
            The alarm in force after it; None where the bundle has no baseline or its drift test is
            switched off.

        Raises:
            HealthError: the file of the state is damaged, or no such file.
        """
        self.begin(inspector)
        if self._monitor is None or prediction.statistics is None:
            return None
        alarm = self._monitor.update(prediction.statistics, prediction.pred_score)
        if time.monotonic() - self._saved_at >= SAVE_EVERY_S:
            self.save()
        return alarm

    def begin(self, inspector: Inspector) -> None:
        """Make the test ready for the baseline in force, or drop it where there is none or it is switched off.

        Raises:
            HealthError: the file of the state is damaged, or no such file.
        """
        health = inspector.health
        if health is None or not health.drift:
            self._monitor = None
        elif self._monitor is None or health is not self._health:
            self._monitor = self._renewed(health, inspector.variant.key)
        self._health = health

    def save(self) -> None:
        """Write the state; a file that cannot be written is told and costs nothing but the memory of this run."""
        if self._state is None or self._monitor is None:
            return
        try:
            self._saved_at = time.monotonic()
            text = json.dumps(state_of(self._monitor), separators=(",", ":"), allow_nan=False)
            atomic.write_bytes(self._state, text.encode())
        except OSError as error:
            log.info(
                f"{self._state}: expected to write it, but {error.strerror}; check the disk and "
                "the folder's owner"
            )

    def _renewed(self, health: Health, variant_key: str) -> DriftMonitor:
        known = self._monitor
        if known is not None and fingerprint(health, variant_key) == fingerprint(
            known.health, variant_key
        ):
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


def state_of(monitor: DriftMonitor) -> dict[str, Any]:
    """What the test has learnt, as JSON."""
    return {
        "drift_state_version": STATE_VERSION,
        "baseline": fingerprint(monitor.health, monitor.variant_key),
        "parts": monitor.parts,
        "alarm": None if monitor.alarm is None else asdict(monitor.alarm),
        "recent": list(monitor.recent),
        "ranks": {name: ranks.counts() for name, ranks in monitor.ranks.items()},
        "sums": monitor.bets.sums.tolist(),
        "page": monitor.bets.page.tolist(),
        "starts": monitor.bets.starts.tolist(),
    }


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
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if _version(raw) and raw["baseline"] != fingerprint(health, variant_key):
            return None
        monitor = DriftMonitor(health, variant_key)
        _fill(monitor, raw)
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise HealthError(
            f"{path}: expected the state of a drift test, found something else "
            f"({type(error).__name__}: {error}); "
            "name another file, or delete it to begin anew"
        ) from error
    return monitor


def _fill(monitor: DriftMonitor, raw: dict[str, Any]) -> None:
    if list(raw["ranks"]) != list(monitor.ranks):
        raise ValueError("other numbers than the baseline's")
    ranks = {
        name: Ranks([_counted(*pair) for pair in pairs]) for name, pairs in raw["ranks"].items()
    }
    alarm = None if raw["alarm"] is None else Alarm(**raw["alarm"])
    if alarm is not None and (alarm.statistic not in ranks or alarm.side not in SIDES):
        raise ValueError(f"an alarm of {alarm.statistic!r}")
    for name in ("sums", "page", "starts"):
        ours = getattr(monitor.bets, name)
        found = np.array(raw[name], dtype=ours.dtype)
        if found.shape != ours.shape or not np.isfinite(found).all() or (found < 0).any():
            raise ValueError(f"{name}: expected {ours.shape} finite numbers from 0 on")
        setattr(monitor.bets, name, found)
    recent = [_finite(one) for one in raw["recent"]]
    if not isinstance(raw["parts"], int) or raw["parts"] < 0:
        raise ValueError(f"parts: {raw['parts']!r}")
    monitor.bets.parts, monitor.alarm = raw["parts"], alarm
    monitor.ranks.update(ranks)
    monitor.recent.extend(recent)


def _version(raw: dict[str, Any]) -> int:
    version = raw["drift_state_version"]
    if version != STATE_VERSION:
        raise ValueError(f"version {version!r}")
    return STATE_VERSION


def _counted(value: Any, count: Any) -> tuple[float, int]:
    if not isinstance(count, int) or count < 1:
        raise ValueError(f"a count of {count!r}")
    return _finite(value), count


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"expected a finite number, found {value!r}")
    return number
