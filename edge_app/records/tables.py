"""The tables, and how an older file gets them."""

from __future__ import annotations

# One tuple of statements a version (`PRAGMA user_version`), from 1 on. What has been released is
# never edited: a change is another tuple.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # seq: the number of the newest write to a part of this bundle.
        """CREATE TABLE bundles (
            bundle TEXT PRIMARY KEY,
            embedding_length INTEGER NOT NULL,
            seq INTEGER NOT NULL DEFAULT 0
        ) STRICT""",
        # Times are UTC in the one form that sorts as text. The newest word stands in its part, too.
        """CREATE TABLE parts (
            part INTEGER PRIMARY KEY,
            id TEXT NOT NULL,
            bundle TEXT NOT NULL REFERENCES bundles (bundle),
            seq INTEGER NOT NULL,
            category TEXT NOT NULL,
            path TEXT NOT NULL,
            verdict TEXT NOT NULL,
            raw_score REAL NOT NULL,
            normalized_score REAL NOT NULL,
            defect_type TEXT NOT NULL,
            time TEXT NOT NULL,
            camera TEXT NOT NULL,
            confirmed TEXT NOT NULL,
            confirmed_at TEXT NOT NULL,
            confirmed_by TEXT NOT NULL,
            descriptor BLOB NOT NULL,
            UNIQUE (bundle, id)
        ) STRICT""",
        "CREATE INDEX parts_seq ON parts (bundle, seq)",
        "CREATE INDEX parts_words ON parts (bundle, confirmed_at) WHERE confirmed <> ''",
        # Apart, so that a pass over the parts reads no pictures. Text where it is no base64.
        """CREATE TABLE thumbnails (
            part INTEGER PRIMARY KEY REFERENCES parts (part) ON DELETE CASCADE,
            jpeg ANY NOT NULL
        ) STRICT""",
        # Append-only. Boxes bring each other words that they have already.
        """CREATE TABLE words (
            word INTEGER PRIMARY KEY,
            bundle TEXT NOT NULL,
            id TEXT NOT NULL,
            who TEXT NOT NULL,
            time TEXT NOT NULL,
            what TEXT NOT NULL,
            verdict TEXT NOT NULL,
            raw_score REAL NOT NULL,
            normalized_score REAL NOT NULL,
            UNIQUE (bundle, id, time, what, who)
        ) STRICT""",
        # What the search index has yet to take out.
        """CREATE TABLE removed (
            bundle TEXT NOT NULL,
            seq INTEGER NOT NULL,
            id TEXT NOT NULL,
            PRIMARY KEY (bundle, seq)
        ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE events (
            event INTEGER PRIMARY KEY,
            time TEXT NOT NULL,
            kind TEXT NOT NULL,
            camera TEXT NOT NULL,
            details TEXT NOT NULL
        ) STRICT""",
        "CREATE INDEX events_time ON events (kind, time)",
    ),
    (
        "ALTER TABLE parts ADD COLUMN confirmed_defect TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE parts ADD COLUMN confirmed_note TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE words ADD COLUMN defect TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE words ADD COLUMN note TEXT NOT NULL DEFAULT ''",
        # Newest first, page by page.
        "CREATE INDEX parts_time ON parts (bundle, time, id)",
    ),
    (
        # What a station's sources have brought, each once; the part's own record is in parts.
        # size and written_ns are those of a file, 0 for a camera's frame.
        """CREATE TABLE arrivals (
            arrival INTEGER PRIMARY KEY,
            source TEXT NOT NULL,
            name TEXT NOT NULL,
            size INTEGER NOT NULL,
            written_ns INTEGER NOT NULL,
            bundle TEXT NOT NULL,
            id TEXT NOT NULL,
            time TEXT NOT NULL,
            verdict TEXT NOT NULL,
            raw_score REAL,
            normalized_score REAL,
            threshold REAL,
            reason TEXT NOT NULL,
            seen_at TEXT NOT NULL DEFAULT '',
            seen_by TEXT NOT NULL DEFAULT ''
        ) STRICT""",
        "CREATE INDEX arrivals_name ON arrivals (source, name)",
        "CREATE INDEX arrivals_time ON arrivals (time, source, verdict)",
        "CREATE INDEX arrivals_part ON arrivals (bundle, id)",
        # What nobody has looked at.
        """CREATE INDEX arrivals_waiting ON arrivals (arrival)
            WHERE seen_at = '' AND verdict <> 'good'""",
        # Up to which arrival an output has taken everything; lost: what was given up for room.
        """CREATE TABLE outputs (
            name TEXT PRIMARY KEY,
            delivered INTEGER NOT NULL,
            lost INTEGER NOT NULL DEFAULT 0
        ) STRICT""",
    ),
    # The bundle that gave the verdict, where a later one has described the part once more.
    ("ALTER TABLE parts ADD COLUMN judged_by TEXT NOT NULL DEFAULT ''",),
)
