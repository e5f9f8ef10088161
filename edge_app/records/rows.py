"""Between what a part has and what stands in its row, and filters in SQL."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

import numpy as np

from edge_app.store.schema import SearchFilter
from runtime.types import Embedding


def unpacked(descriptor: bytes | None) -> Embedding:
    """A descriptor as it was stored; empty where none was asked for."""
    # A copy: what lies in bytes cannot be written to.
    return np.frombuffer(descriptor or b"", np.float32).copy()


def packed(thumbnail: str) -> bytes | str:
    """The picture itself, or what another program has put in its place, as it is."""
    try:
        jpeg = base64.b64decode(thumbnail, validate=True)
    except (binascii.Error, ValueError):
        return thumbnail
    return jpeg if base64.b64encode(jpeg).decode() == thumbnail else thumbnail


def conditions(where: SearchFilter) -> tuple[str, list[Any]]:
    """A checked filter in SQL, to stand behind another condition, and its values."""
    found: list[tuple[str, Any]] = [
        ("category = ?", where.category),
        ("verdict = ?", where.verdict),
        ("camera = ?", where.camera),
        ("confirmed = ?", where.confirmed),
        ("time >= ?", where.since),
        # A part without a time lies in no range.
        ("time < ? AND time <> ''", where.until),
        ("normalized_score >= ?", where.min_score),
        ("normalized_score <= ?", where.max_score),
        (
            "id NOT IN (SELECT value FROM json_each(?))",
            json.dumps(where.exclude_ids) if where.exclude_ids else None,
        ),
    ]
    wanted = [(condition, value) for condition, value in found if value is not None]
    text = "".join(f" AND {condition}" for condition, _ in wanted)
    if where.confirmed_only:
        text += " AND confirmed <> ''"
    return text, [value for _, value in wanted]
