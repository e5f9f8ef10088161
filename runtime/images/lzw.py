"""How much an LZW piece of a TIFF holds: a damaged one ends too early or too late.

Libtiff fills what a damaged piece lacks and says nothing that OpenCV hands on. The length of each
code's string is known without the string, so the pieces are measured and not unpacked.

Source:
    TIFF Revision 6.0, Adobe, 1992, section 13.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_Codes = npt.NDArray[np.int64]
_CLEAR, _END, _FIRST = 256, 257, 258
# Codes between two clearings: 9 bits until 511 strings are known, 10 until 1023, and so on. Some
# encoders clear late, by no more than libtiff has room for.
_WIDTHS = np.repeat([9, 10, 11, 12], [254, 512, 1024, 2049 + 1024])
_STARTS = np.concatenate([[0], np.cumsum(_WIDTHS)])
# Encoders clear when all strings are taken; a file that clears all the time would take long.
_BYTES_A_CLEARING = 256
# Files of more are not measured, for it takes some 50 ms for each MB, and 0.1 for each piece.
MOST_BYTES = 16 << 20
MOST_PIECES = 4000


def unpacked_length(content: bytes) -> int | None:
    """Bytes that a piece holds.

    Args:
        content: the piece.

    Returns:
        -1 where it makes no sense; None where nobody can say without unpacking it.
    """
    # The form of before 1988, with its bits the other way round.
    if content[:1] == b"\0":
        return None
    data = np.frombuffer(content + bytes(4), np.uint8).astype(np.int64)
    at, end, total = 0, 8 * len(content), 0
    for _ in range(4 + len(content) // _BYTES_A_CLEARING):
        codes = _codes(data, at, end)
        stops = np.flatnonzero((codes == _CLEAR) | (codes == _END))
        count = int(stops[0]) if len(stops) else len(codes)
        held = _held(codes[:count])
        if held < 0:
            return -1
        total += held
        if not len(stops):
            # Cut off, or strings that are never cleared.
            return -1
        if codes[count] == _END:
            return total
        at += int(_STARTS[count + 1])
    return None


def _codes(data: _Codes, at: int, end: int) -> _Codes:
    """The codes from a bit on, as if nothing were cleared before the strings are full."""
    count = int(np.searchsorted(_STARTS, end - at, side="right")) - 1
    places, widths = at + _STARTS[: max(count, 0)], _WIDTHS[: max(count, 0)]
    byte = places >> 3
    three = data[byte] << 16 | data[byte + 1] << 8 | data[byte + 2]
    return np.asarray((three >> (24 - (places & 7) - widths)) & ((1 << widths) - 1))


def _held(codes: _Codes) -> int:
    """Bytes of the strings of these codes; -1 where one is not known yet."""
    if (codes >= np.maximum(_FIRST + np.arange(len(codes)), 1)).any():
        return -1
    # A string is that of an earlier code and one byte more; both ways are doubled in each round.
    parent = np.where(codes >= _FIRST, codes - _FIRST, -1)
    longer = (parent >= 0).astype(np.int64)
    while (known := parent >= 0).any():
        longer[known], parent[known] = (
            longer[known] + longer[parent[known]],
            parent[parent[known]],
        )
    return int(longer.sum()) + len(codes)
