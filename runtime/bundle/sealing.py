"""A checksum that a file carries in itself, for files that people may edit and no manifest hashes.

It is taken over the values, not the bytes: an editor may indent them otherwise. It shows an edit
that nobody meant, or damage. It is no signature.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

SEAL = "seal"
# What is done about a file without one: refused, taken as from an older version, or not looked at.
Seal = Literal["required", "optional", "ignored"]


def seal_of(value: dict[str, Any]) -> str:
    """The seal that belongs to a file's values.

    Args:
        value: as a JSON decoder gives them; an old seal among them does not count.
    """
    values = {name: one for name, one in value.items() if name != SEAL}
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def seal_problem(value: dict[str, Any], rule: Seal) -> str:
    """What was expected of a file's seal and what was found; empty where it is right."""
    found = value.get(SEAL)
    if rule == "ignored" or (found is None and rule == "optional"):
        return ""
    if found is None:
        return "expected the seal that it had when the bundle was made, found none"
    if found != seal_of(value):
        return "expected values that go with its seal, found others: it was edited or damaged"
    return ""


def has_seal(path: Path) -> bool:
    """Whether a JSON file carries a seal, right or wrong."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(value, dict) and SEAL in value
