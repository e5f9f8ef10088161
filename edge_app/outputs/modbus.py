"""Verdicts to a PLC over Modbus TCP: an example of an output that comes through an entry point.

Four holding registers from the one that the address names: the verdict (1 good, 2 anomalous,
3 cannot_judge), the normalized score in thousandths (65535 where there is none), and the part's
number as two words, the high one first. They are written in one request, so that the PLC never sees
a number with another part's verdict: it acts when the number changes.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ModbusException

from edge_app.outputs.base import Address
from runtime.errors import OutputError, sentence

CODES = {"good": 1, "anomalous": 2, "cannot_judge": 3}
NO_SCORE = 65535
TIMEOUT_S = 3.0
_WORD = 1 << 16


class Modbus:
    """One connection to a PLC.

    Args:
        address: ``modbus://plc:502?register=100&unit=1``.

    Raises:
        OutputError: it does not answer, or the address is none.
    """

    def __init__(self, address: Address) -> None:
        parts = urlsplit(address.url)
        query = parse_qs(parts.query)
        self._register = _number(query, "register", 0)
        self._unit = _number(query, "unit", 1)
        self._client = ModbusTcpClient(
            parts.hostname or "localhost", port=parts.port or 502, timeout=TIMEOUT_S, retries=0
        )
        if not self._client.connect():
            raise OutputError("expected a PLC that answers, found none; see its address and port")

    def send(self, message: dict[str, Any]) -> None:
        """See :class:`edge_app.outputs.base.Sender`."""
        score, number = message["normalized_score"], int(message["number"])
        words = [
            CODES[str(message["verdict"])],
            NO_SCORE if score is None else round(1000 * float(score)),
            number // _WORD % _WORD,
            number % _WORD,
        ]
        try:
            answer = self._client.write_registers(self._register, words, device_id=self._unit)
        except ModbusException as error:
            raise OutputError(f"expected an answer, found {sentence(error)}") from error
        if answer.isError():
            raise OutputError(f"expected the registers to be written, found {answer}")

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()


def _number(query: dict[str, list[str]], name: str, default: int) -> int:
    given = query.get(name, [str(default)])[0]
    if not given.isdigit() or int(given) >= _WORD:
        raise OutputError(f"{name}: expected a number below {_WORD}, found {given}; mend it")
    return int(given)
