"""Parts that a box has recorded, with what people said of them, for whoever learns from them.

Records are kept by another package, which names its reader in the entry-point group
``lineside.records``: a function of a folder and bundles' fingerprints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

from runtime.errors import StoreError

GROUP = "lineside.records"


@dataclass(frozen=True)
class RecordedPart:
    """One part.

    Attributes:
        part_id: of its record.
        bundle: fingerprint of the one that has judged it.
        name: of its picture.
        verdict: ``good`` or ``anomalous``, as it was judged.
        raw_score: of that verdict.
        word: what an operator said of the verdict: ``right``, ``wrong``, or ``""``.
        truth: ``good``, or what is wrong with it: by the word, else by the verdict.
        find_picture: the file that shows it still, or None. It is read for that.
    """

    part_id: str
    bundle: str
    name: str
    verdict: str
    raw_score: float
    word: str
    truth: str
    find_picture: Callable[[], Path | None]

    @property
    def is_said_good(self) -> bool:
        """Whether a person has said that it is good."""
        return bool(self.word) and self.truth == "good"

    @property
    def is_said_bad(self) -> bool:
        """Whether a person has said that it is defective."""
        return bool(self.word) and self.truth != "good"


def recorded_parts(location: str, bundles: Sequence[str]) -> list[RecordedPart]:
    """The judged parts of bundles, of each the newest first.

    Args:
        location: folder of the records.
        bundles: fingerprints of those that have judged them.

    Raises:
        StoreError: no such folder, or it has no parts of any of the bundles.
    """
    for entry in entry_points(group=GROUP):
        read: Callable[[str, Sequence[str]], Iterable[RecordedPart]] = entry.load()
        return list(read(location, bundles))
    raise StoreError(
        f"{location}: expected a package that reads records, found none installed; install "
        "lineside again: pip install --force-reinstall lineside"
    )
