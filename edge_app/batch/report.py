"""A batch as a table and as a page that stands for itself."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from datetime import datetime
from html import escape

from edge_app.batch.job import Batch, Row

COLUMNS = ("number", "name", "verdict", "raw_score", "normalized_score", "threshold", "reason")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; max-width: 1100px; margin: 24px auto; padding: 0 16px;
  color: #111827; } table { border-collapse: collapse; width: 100%; } th { text-align: left; }
th, td { padding: 4px 12px 4px 0; border-bottom: 1px solid #c3cad3; vertical-align: middle; }
img { height: 72px; display: block; } .anomalous b { color: #8a1212; } .num { text-align: right; }
h1 { font-size: 24px; } .counts { font-size: 18px; }
"""


def csv_of(batch: Batch) -> Iterator[bytes]:
    """All rows, in the order of the batch."""
    yield _line(COLUMNS)
    for row in list(batch.rows):
        scores = [_number(row.raw_score), _number(row.normalized_score), _number(batch.threshold)]
        yield _line([str(row.number), _safe(row.name), row.verdict, *scores, _safe(row.reason)])


def html_of(batch: Batch) -> Iterator[bytes]:
    """A page with what came of it, flagged parts first, the worst on top; no other file needed."""
    rows = sorted(batch.rows, key=_worst)
    line = batch.line
    counts = ", ".join(f"{number} {name}" for name, number in counted(rows).items() if number)
    left = "" if len(rows) == batch.total else f" of {batch.total}: the batch was not finished"
    yield (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(batch.name)}</title>'
        f"<style>{_STYLE}</style><h1>{escape(batch.name)}</h1>"
        f'<p class="counts">{len(rows)} pictures{left}: {escape(counts)}</p>'
        f"<p>Bundle {escape(line.name)} ({line.store.bundle[:12]}), limit {batch.threshold:.4g}, "
        f"{datetime.now().astimezone():%Y-%m-%d %H:%M}, {batch.seconds:.0f} s.</p><table><tr>"
        "<th>part<th>verdict<th>raw score<th>name</tr>"
    ).encode()
    for row in rows:
        picture = f'<img alt="" src="data:image/jpeg;base64,{row.thumbnail}">'
        yield (
            f'<tr class="{row.verdict}"><td>{picture if row.thumbnail else ""}'
            f"<td><b>{escape(row.verdict or 'cannot be read')}</b> {escape(row.reason)}"
            f'<td class="num">{_number(row.raw_score)}<td>{escape(row.name)}</tr>'
        ).encode()
    yield b"</table></html>"


def counted(rows: Sequence[Row]) -> dict[str, int]:
    """Pictures by what became of them."""
    names = {"anomalous": "anomalous", "cannot_judge": "cannot judge", "": "cannot be read"}
    names["good"] = "good"
    return {said: sum(row.verdict == key for row in rows) for key, said in names.items()}


def _worst(row: Row) -> tuple[int, float]:
    order = {"anomalous": 0, "": 1, "cannot_judge": 2, "good": 3}
    return order.get(row.verdict, 3), -(row.raw_score or 0.0)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _safe(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def _line(values: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow(values)
    return text.getvalue().encode()
