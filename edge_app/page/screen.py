"""What one operator's page shows just now, and the newest thing that was asked of it.

Answers take as long as the store does, and several may be under way: whatever the operator has
asked for last is what the page must end up showing, in whichever order the answers come.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_app.store import PartPoint


@dataclass
class Screen:
    """State of one browser's page.

    Attributes:
        point: the part that is shown, as it will be stored once the operator has given a word; None
            without a part.
        file: its picture; empty without a part.
        asked: number of parts that were asked for.
        shown: number of parts that were shown.
        boxes: number of boxes that were drawn.
    """

    point: PartPoint | None = None
    file: str = ""
    asked: int = 0
    shown: int = 0
    boxes: int = 0

    def ask(self) -> int:
        """Begin to look at a part; its number."""
        self.asked += 1
        return self.asked

    def awaits(self, part: int) -> bool:
        """Whether nothing was asked since, so that an answer is to be shown."""
        return part == self.asked

    def put(self, point: PartPoint | None, file: str) -> None:
        """Another part is shown now."""
        self.point, self.file = point, file
        self.shown += 1

    def ask_box(self) -> tuple[int, int, int]:
        """Begin to look for a box on the part that is shown; its number."""
        self.boxes += 1
        return self.asked, self.shown, self.boxes

    def awaits_box(self, box: tuple[int, int, int]) -> bool:
        """Whether neither another part nor another box came since."""
        return box == (self.asked, self.shown, self.boxes)
