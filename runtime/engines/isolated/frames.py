"""Messages between a process and the worker that runs its engine: a line of JSON, then arrays.

No pickle: what comes out of a worker is numbers, however odd the model in it is.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from math import prod
from typing import Any, BinaryIO

import msgspec
import numpy as np

from runtime.engines.base import Arrays

_HEAD = struct.Struct("<I")
# A header of more bytes, or an array of more elements, comes from a worker that has lost its mind.
_MOST_HEADER = 1 << 20
_MOST_BYTES = 1 << 31
_KINDS = "biuf"


def send(stream: BinaryIO, message: Mapping[str, Any], arrays: Arrays | None = None) -> None:
    """Write a message.

    Args:
        stream: the other end reads it.
        message: plain JSON.
        arrays: of numbers, by name.

    Raises:
        OSError: nobody reads it any more.
    """
    whole = {name: np.ascontiguousarray(value) for name, value in (arrays or {}).items()}
    told = [(name, value.dtype.str, value.shape) for name, value in whole.items()]
    header = msgspec.json.encode({**message, "arrays": told})
    stream.write(_HEAD.pack(len(header)) + header)
    for value in whole.values():
        if value.size:
            stream.write(value.data.cast("B"))
    stream.flush()


def receive(stream: BinaryIO) -> tuple[dict[str, Any], Arrays]:
    """Read a message.

    Returns:
        What :func:`send` was given; each array is the caller's own.

    Raises:
        EOFError: the other end is gone.
        ValueError: this is no message.
    """
    (size,) = _HEAD.unpack(_exactly(stream, _HEAD.size))
    if size > _MOST_HEADER:
        raise ValueError(f"expected a message, found a header of {size} bytes")
    message = msgspec.json.decode(_exactly(stream, size))
    arrays: Arrays = {}
    for name, kind, shape in message.pop("arrays"):
        dtype = np.dtype(kind)
        length = prod(shape) * dtype.itemsize
        if dtype.kind not in _KINDS or not 0 <= length <= _MOST_BYTES:
            raise ValueError(f"expected an array of numbers, found {kind} {shape}")
        arrays[name] = np.frombuffer(_exactly(stream, length), dtype).reshape(shape)
    return message, arrays


def _exactly(stream: BinaryIO, size: int) -> bytearray:
    found = bytearray(size)
    at = 0
    view = memoryview(found)
    while at < size:
        count = stream.readinto(view[at:])  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        at += count
    return found
