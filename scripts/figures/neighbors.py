"""A flagged part and the five stored parts whose descriptors are nearest."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from edge_app.fingerprint import bundle_fingerprint
from edge_app.indexing import index_parts
from edge_app.similar import find_neighbors
from edge_app.store import open_store
from runtime.images.preprocess import decode_rgb
from scripts.figures import style
from scripts.figures.world import World

QUERIES = ("crack", "glue_strip")
K = 5


def draw(world: World) -> Figure:
    """One row a query."""
    inspector = world.inspector
    bundle = bundle_fingerprint(inspector.bundle)
    length = inspector.bundle.manifest.outputs.embedding_length
    drawn = style.figure(3.5)
    rows = drawn.subplots(len(QUERIES), K + 1)
    with open_store("memory:", bundle=bundle, embedding_length=length) as store:
        index_parts(inspector, world.category.test, store, bundle=bundle)
        for axes, kind in zip(rows, QUERIES, strict=True):
            query = next(part.path for part in world.category.test if part.defect_type == kind)
            found = find_neighbors(inspector, query, store, bundle=bundle, k=K)
            style.show(
                axes[0],
                style.thumbnail(decode_rgb(query), 192),
                f"query: {_name(kind)}",
                style.ACCENT,
            )
            for one, neighbor in zip(axes[1:], found.neighbors, strict=True):
                image = style.thumbnail(decode_rgb(Path(neighbor.point.path)), 192)
                same = neighbor.point.defect_type == kind
                title = f"{_name(neighbor.point.defect_type)} {neighbor.similarity:.2f}"
                style.show(one, image, title, style.GOOD if same else style.BAD)
    return drawn


def _name(defect: str) -> str:
    return defect.replace("_", " ")
