"""What happened beside the parts: drift, health, whatever has a time and a camera."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from edge_app.records.database import Database


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Attributes:
        time: UTC, ISO 8601.
        kind: e.g. ``"drift"`` or ``"health"``.
        camera: name of the camera, or ``""``.
        details: what there is to know; JSON.
    """

    time: str
    kind: str
    camera: str
    details: dict[str, Any]


def add_event(
    database: Database, kind: str, details: Mapping[str, Any], *, camera: str = ""
) -> None:
    """Record that something happened now.

    Raises:
        StoreError: it cannot be written.
    """
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    text = json.dumps(dict(details), ensure_ascii=False, allow_nan=False)
    with database.writing() as connection:
        connection.execute(
            "INSERT INTO events (time, kind, camera, details) VALUES (?, ?, ?, ?)",
            (now, kind, camera, text),
        )


def events(database: Database, kind: str | None = None, *, since: str = "") -> list[Event]:
    """What happened, oldest first.

    Args:
        database: where to look.
        kind: only this one.
        since: UTC, ISO 8601, inclusive.

    Raises:
        StoreError: it cannot be read.
    """
    with database.reading() as connection:
        found = connection.execute(
            "SELECT time, kind, camera, details FROM events "
            "WHERE (? IS NULL OR kind = ?) AND time >= ? ORDER BY time, event",
            (kind, kind, since),
        )
        return [Event(time, name, camera, json.loads(text)) for time, name, camera, text in found]
