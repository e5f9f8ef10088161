"""What a box knows about its parts, in SQLite: parts, operators' words, events."""

from edge_app.records.arrivals import Arrival, Counts, Journal
from edge_app.records.database import RECORDS_FILE, Database
from edge_app.records.events import Event, add_event, events
from edge_app.records.outbox import Outbox
from edge_app.records.parts import PartRecords, bundles
from edge_app.store.schema import Word

__all__ = [
    "RECORDS_FILE",
    "Arrival",
    "Counts",
    "Database",
    "Event",
    "Journal",
    "Outbox",
    "PartRecords",
    "Word",
    "add_event",
    "bundles",
    "events",
]
