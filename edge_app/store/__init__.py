"""Neighbor stores: records and a Qdrant Edge index on the box, or a server that boxes share."""

from edge_app.store.location import open_store
from edge_app.store.neighbor_store import NeighborStore
from edge_app.store.schema import Merged, Neighbor, PartPoint, SearchFilter
from edge_app.store.words import give_word

__all__ = [
    "Merged",
    "Neighbor",
    "NeighborStore",
    "PartPoint",
    "SearchFilter",
    "give_word",
    "open_store",
]
