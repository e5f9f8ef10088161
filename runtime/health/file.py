"""health.json: written at export and by calibration, may be edited on the box, read strictly."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from runtime import atomic
from runtime.errors import HealthError
from runtime.health.baseline import Health, Limit, PictureSize
from runtime.health.statistics import STATISTICS
from runtime.types import Floats

HEALTH_VERSION = 1
_ADVICE = "make it anew with: lineside calibrate BUNDLE --good DIR, or delete it to go on without the check of pictures"
_FIELDS = frozenset(
    (
        "schema_version",
        "judge",
        "drift",
        "parts_between_false_alarms",
        "tolerated_share",
        "limits",
        "size",
        "score_limits",
        "n_good",
        "refused_rate",
        "note",
        "set_at",
        "scores",
        "values",
    )
)

Value = TypeVar("Value")


def read_health(path: Path) -> Health:
    """Read health.json.

    Raises:
        HealthError: unreadable, no JSON, another version, a field missing, unknown or of the wrong
            type, or a value that makes no sense.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except (OSError, ValueError, RecursionError) as error:
        raise HealthError(f"{path}: expected readable JSON, found {error}; {_ADVICE}") from error
    version = raw.get("schema_version") if isinstance(raw, dict) else type(raw).__name__
    if not isinstance(raw, dict) or isinstance(version, bool) or version != HEALTH_VERSION:
        raise HealthError(
            f"{path}: expected schema version {HEALTH_VERSION}, found {version!r}; {_ADVICE}"
        )
    try:
        return _health(raw)
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        missing = f"the field {error} is missing" if isinstance(error, KeyError) else str(error)
        raise HealthError(f"{path}: {missing}; {_ADVICE}") from error


def write_health(path: Path, health: Health) -> None:
    """Write health.json atomically; the last good state survives a crash or a full disk.

    Raises:
        OSError: the folder cannot be written.
    """
    size = health.size
    atomic.write_bytes(
        path,
        _compact(
            {
                "schema_version": HEALTH_VERSION,
                "judge": health.judge,
                "drift": health.drift,
                "parts_between_false_alarms": health.parts_between_false_alarms,
                "tolerated_share": health.tolerated_share,
                "limits": {name: _pair(limit) for name, limit in health.limits.items()},
                "size": None
                if size is None
                else {
                    "aspect": _pair(size.aspect),
                    "min_height": size.min_height,
                    "min_width": size.min_width,
                },
                "score_limits": {
                    key: float(f"{value:.6g}") for key, value in sorted(health.score_limits.items())
                },
                "n_good": health.n_good,
                "refused_rate": health.refused_rate,
                "note": health.note,
                "set_at": health.set_at,
                "scores": {
                    key: [float(f"{one:.6g}") for one in found]
                    for key, found in sorted(health.scores.items())
                },
                "values": {
                    name: [round(float(one), 4) for one in found]
                    for name, found in health.values.items()
                },
            }
        ),
    )


def _compact(value: dict[str, Any]) -> bytes:
    """JSON with one field a line: short enough to read, and to edit by hand."""
    lines = ",\n".join(
        f"  {json.dumps(name)}: {json.dumps(one, ensure_ascii=False, allow_nan=False)}"
        for name, one in value.items()
    )
    return f"{{\n{lines}\n}}\n".encode()


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant}, which is no number")


def _health(raw: dict[str, Any]) -> Health:
    unknown = sorted(set(raw) - _FIELDS)
    if unknown:
        raise ValueError(
            f"expected the fields of version {HEALTH_VERSION}, found also {', '.join(unknown)}"
        )
    limits = _mapping("limits", raw["limits"], _limit)
    values = _mapping("values", raw["values"], _numbers)
    for name in (*limits, *values):
        if name not in STATISTICS:
            raise ValueError(f"expected the statistics {', '.join(STATISTICS)}, found {name!r}")
    refused_rate = raw["refused_rate"]
    return Health(
        limits=limits,
        size=None if raw["size"] is None else _size(raw["size"]),
        score_limits=_mapping("score_limits", raw["score_limits"], _number),
        values=values,
        scores=_mapping("scores", raw["scores"], _numbers),
        n_good=_whole("n_good", raw["n_good"], 0),
        refused_rate=None
        if refused_rate is None
        else _between("refused_rate", refused_rate, 0.0, 1.0),
        judge=_switch("judge", raw["judge"]),
        drift=_switch("drift", raw["drift"]),
        parts_between_false_alarms=_whole(
            "parts_between_false_alarms", raw["parts_between_false_alarms"], 100
        ),
        tolerated_share=_between("tolerated_share", raw["tolerated_share"], 0.0, 0.5),
        note=_text("note", raw["note"]),
        set_at=_text("set_at", raw["set_at"]),
    )


def _size(raw: Any) -> PictureSize:
    if not isinstance(raw, dict) or set(raw) != {"aspect", "min_height", "min_width"}:
        raise ValueError(f"size: expected aspect, min_height and min_width, found {raw!r}")
    return PictureSize(
        _limit("aspect", raw["aspect"]),
        _whole("min_height", raw["min_height"], 1),
        _whole("min_width", raw["min_width"], 1),
    )


def _mapping(name: str, raw: Any, parse: Callable[[str, Any], Value]) -> dict[str, Value]:
    if not isinstance(raw, dict):
        raise TypeError(f"{name}: expected an object, found {type(raw).__name__}")
    return {key: parse(f"{name}.{key}", value) for key, value in raw.items()}


def _limit(name: str, raw: Any) -> Limit:
    if not isinstance(raw, list) or len(raw) != 2:
        raise ValueError(f"{name}: expected [low, high], each a number or null, found {raw!r}")
    low, high = (None if one is None else _number(name, one) for one in raw)
    if low is not None and high is not None and low > high:
        raise ValueError(f"{name}: expected low before high, found {raw!r}")
    return Limit(low, high)


def _numbers(name: str, raw: Any) -> Floats:
    if not isinstance(raw, list) or not raw:
        raise ValueError(f"{name}: expected a list of numbers, found {raw!r:.40}")
    return np.array([_number(name, one) for one in raw], dtype=np.float64)


def _number(name: str, raw: Any) -> float:
    if isinstance(raw, bool) or not isinstance(raw, (int, float)) or not math.isfinite(raw):
        raise ValueError(f"{name}: expected a finite number, found {raw!r:.40}")
    return float(raw)


def _between(name: str, raw: Any, low: float, high: float) -> float:
    value = _number(name, raw)
    if not low <= value <= high:
        raise ValueError(f"{name}: expected a number from {low:g} to {high:g}, found {value:g}")
    return value


def _whole(name: str, raw: Any, least: int) -> int:
    if isinstance(raw, bool) or not isinstance(raw, int) or raw < least:
        raise ValueError(f"{name}: expected a whole number from {least} on, found {raw!r:.40}")
    return raw


def _switch(name: str, raw: Any) -> bool:
    if not isinstance(raw, bool):
        raise TypeError(f"{name}: expected true or false, found {raw!r:.40}")
    return raw


def _text(name: str, raw: Any) -> str:
    if not isinstance(raw, str):
        raise TypeError(f"{name}: expected text, found {raw!r:.40}")
    return raw


def _pair(limit: Limit) -> list[float | None]:
    return [None if one is None else round(one, 4) for one in (limit.low, limit.high)]
