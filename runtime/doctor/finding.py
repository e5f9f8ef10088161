"""What one check found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from runtime.errors import LinesideError, sentence

State = Literal["ok", "warning", "fault"]


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        check: what was looked at, e.g. ``disk``.
        state: ``ok``; ``warning`` for what works and may not last; ``fault`` for what does not
            work.
        found: one sentence.
        next: what to do or type; empty where all is well.
    """

    check: str
    state: State
    found: str
    next: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)


def guarded(check: str, findings: Iterable[Finding]) -> Iterator[Finding]:
    """The findings of a check; whatever it raises is a fault of its own.

    Args:
        check: named in that fault.
        findings: made while they are read.
    """
    try:
        yield from findings
    except LinesideError as error:
        # "expected ..., found ...; what to do"
        found, _, advice = sentence(error).partition("; ")
        yield Finding(check, "fault", found, advice)
    except Exception as error:
        # A diagnosis that ends in a traceback is none, whatever a driver or library may raise.
        yield Finding(check, "fault", sentence(error), "report it with the output of --json")
