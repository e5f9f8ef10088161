"""Mutations of a file's bytes, of its JSON values and of its text, each from one seed."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Sequence
from typing import Any

HOSTILE: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    2**31,
    2**63,
    10**19,
    -(10**400),
    1e308,
    -1e308,
    1e-320,
    "",
    "\ud800",
    "\x00",
    "a" * 300,
    "../up",
    "/etc/passwd",
    "C:\\up",
    [],
    {},
    [[[]]],
    {"": ""},
)
WORDS = (b"NaN", b"Infinity", b"1e999", b"9" * 400, b"[" * 3000, b'"\\ud800"', b"\xff\xfe", b"\0")
EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)


def mutated(seeds: Sequence[bytes], generator: random.Random, *, json_values: bool) -> bytes:
    """One of the seeds with one to four things done to it."""
    content = generator.choice(seeds)
    if json_values and generator.random() < 0.5:
        return _value_changed(content, generator)
    found = bytearray(content)
    for _ in range(generator.randint(1, 4)):
        _bytes_changed(found, generator, seeds)
    return bytes(found)


def _bytes_changed(found: bytearray, generator: random.Random, seeds: Sequence[bytes]) -> None:
    # Headers and directories matter more than what they lead to.
    most = len(found) if generator.random() < 0.5 else min(len(found), 200)
    at = generator.randrange(max(most, 1))
    kind = generator.randrange(8)
    if kind == 0 and found:
        found[at] ^= 1 << generator.randrange(8)
    elif kind == 1:
        found[at : at + 1] = bytes([generator.randrange(256)])
    elif kind == 2:
        form = generator.choice(["<H", ">H", "<I", ">I"])
        value = generator.choice(EDGES) & (0xFFFF if form[1] == "H" else 0xFFFFFFFF)
        found[at : at + struct.calcsize(form)] = struct.pack(form, value)
    elif kind == 3:
        del found[at : at + generator.choice([1, 2, 8, 100, 1 << 20])]
    elif kind == 4:
        found[at:at] = found[at : at + generator.choice([1, 4, 64, 1000])]
    elif kind == 5:
        found[at : at + generator.choice([1, 16, 256, 4096])] = b""
    elif kind == 6:
        found[at:at] = generator.choice(WORDS)
    else:
        other = generator.choice(seeds)
        start = generator.randrange(max(len(other), 1))
        found[at : at + 64] = other[start : start + 64]


def _value_changed(content: bytes, generator: random.Random) -> bytes:
    raw = json.loads(content)
    holder, key = generator.choice(_places(raw))
    if generator.random() < 0.2 and isinstance(holder, dict):
        del holder[key]
    else:
        holder[key] = generator.choice(HOSTILE)
    return json.dumps(raw).encode("utf-8", "surrogatepass")


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Each value inside one: what holds it, and its key there."""
    if not isinstance(value, dict | list):
        return []
    keys = list(value) if isinstance(value, dict) else list(range(min(len(value), 12)))
    found = [(value, key) for key in keys]
    for key in keys:
        found += _places(value[key])
    return found
