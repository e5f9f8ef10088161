"""The charts read what stands in the pages' tables."""

from __future__ import annotations

from scripts.charts import peers, plan, table


def test_a_row_is_read_by_the_names_of_its_columns() -> None:
    rows = table("speed.md", "| | anomalib")
    assert len(rows) == 8
    assert rows[0]["search in INT8"] == "2.3 ms: 6.6"


def test_every_bar_and_every_candidate_is_drawn() -> None:
    bars = [len(container) for container in peers().axes[0].containers]
    # Three checkpoints of PatchCore have five bars, two of EfficientAD have no search to quantize.
    assert sum(bars) == 3 * 5 + 2 * 4
    points = [line for line in plan().axes[0].lines if line.get_marker() == "o"]
    assert len(points) == 9
