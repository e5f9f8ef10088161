"""Records of an earlier version are brought up to date when they are opened."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from edge_app.records import RECORDS_FILE, Database, PartRecords, tables
from edge_app.store import SearchFilter, give_word
from edge_app.store.edge import EdgeStore
from tests.edge_app.points import BUNDLE, LENGTH, make_points


def test_records_of_version_1_keep_their_parts_and_take_a_defect_with_the_next_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = make_points(5)
    with monkeypatch.context() as before:
        before.setattr("edge_app.records.database.MIGRATIONS", tables.MIGRATIONS[:1])
        Database(tmp_path, durable=False).close()
    # As version 1 wrote them: without the columns that came later.
    with sqlite3.connect(tmp_path / RECORDS_FILE) as connection:
        connection.execute(
            "INSERT INTO bundles (bundle, embedding_length, seq) VALUES (?, ?, 5)", (BUNDLE, LENGTH)
        )
        for seq, point in enumerate(points, 1):
            payload = point.payload()
            names = [
                name
                for name in payload
                if name not in ("thumbnail", "confirmed_defect", "confirmed_note", "judged_by")
            ]
            values = [payload[name] for name in names]
            connection.execute(
                f"INSERT INTO parts (id, seq, descriptor, {', '.join(names)}) "
                f"VALUES ({', '.join('?' * (len(names) + 3))})",
                (point.point_id, seq, point.embedding.tobytes(), *values),
            )
        connection.execute(
            "INSERT INTO words (bundle, id, who, time, what, verdict, raw_score, normalized_score)"
            " VALUES (?, ?, 'Ada', '2025-01-01T00:00:00+00:00', 'right', 'good', 0, 0)",
            (BUNDLE, points[0].point_id),
        )
    with EdgeStore(tmp_path, bundle=BUNDLE, embedding_length=LENGTH) as store:
        assert store.count() == 5
        give_word(store, points[0], "wrong", "Grace", defect="crack")
        said = store.words(points[0].point_id)
        assert [(word.who, word.defect) for word in said] == [("Ada", ""), ("Grace", "crack")]


def test_a_page_of_the_newest_parts_reads_the_index_and_sorts_nothing(tmp_path: Path) -> None:
    database = Database(tmp_path, durable=False)
    records = PartRecords(database, BUNDLE, LENGTH)
    with database.reading() as connection:
        plan = connection.execute(
            "EXPLAIN QUERY PLAN SELECT id FROM parts WHERE bundle = ? AND (time, id) < (?, ?) "
            "ORDER BY time DESC, id DESC LIMIT 50",
            (BUNDLE, "2025", "a"),
        ).fetchall()
    told = " ".join(row[-1] for row in plan)
    assert "parts_time" in told
    assert "TEMP B-TREE" not in told
    assert records.recent(SearchFilter(), None, 5) == []
    database.close()
