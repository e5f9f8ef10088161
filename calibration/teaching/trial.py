"""What another bank would have made of recorded parts, before anybody accepts it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from runtime.sources.recorded import RecordedPart
from runtime.types import Floats


@dataclass(frozen=True)
class Trial:
    """Recorded parts judged before and after.

    Attributes:
        good: parts that an operator has called good.
        rejected_before: of them.
        rejected_after: of them, each judged without its own patches.
        defective: parts that an operator has called defective.
        found_before: of them.
        found_after: of them.
        unsaid: parts without a word.
        flagged_before: of them.
        flagged_after: of them.
        to_good: parts whose verdict becomes good.
        to_anomalous: parts whose verdict becomes anomalous.
        lost: names of parts that were found, that an operator has called defective, and that would
            pass.
    """

    good: int
    rejected_before: int
    rejected_after: int
    defective: int
    found_before: int
    found_after: int
    unsaid: int
    flagged_before: int
    flagged_after: int
    to_good: int
    to_anomalous: int
    lost: tuple[str, ...]

    @property
    def stopped_before(self) -> int:
        """Parts that nobody has called defective and that were stopped."""
        return self.rejected_before + self.flagged_before

    @property
    def stopped_after(self) -> int:
        """Those that would be."""
        return self.rejected_after + self.flagged_after

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return asdict(self)


def try_on(parts: Sequence[RecordedPart], scores: Floats, before: float, after: float) -> Trial:
    """Compare verdicts.

    Args:
        parts: recorded, each with its score.
        scores: raw ones that the new bank gives, (n,).
        before: threshold that is in force, on the recorded scores.
        after: threshold of the new bank.
    """
    was = np.array([one.raw_score > before for one in parts], np.bool_)
    becomes = np.asarray(scores > after, np.bool_)
    good = np.array([one.is_said_good for one in parts], np.bool_)
    bad = np.array([one.is_said_bad for one in parts], np.bool_)
    unsaid = ~good & ~bad
    lost = was & bad & ~becomes
    return Trial(
        good=int(good.sum()),
        rejected_before=int((was & good).sum()),
        rejected_after=int((becomes & good).sum()),
        defective=int(bad.sum()),
        found_before=int((was & bad).sum()),
        found_after=int((becomes & bad).sum()),
        unsaid=int(unsaid.sum()),
        flagged_before=int((was & unsaid).sum()),
        flagged_after=int((becomes & unsaid).sum()),
        to_good=int((was & ~becomes).sum()),
        to_anomalous=int((~was & becomes).sum()),
        lost=tuple(one.name for one, is_lost in zip(parts, lost, strict=True) if is_lost),
    )
