"""A picture, its verdict and the stored parts that look like it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

from edge_app.region import piece_around
from edge_app.store import Neighbor, NeighborStore, SearchFilter
from edge_app.store.schema import point_id
from runtime.errors import ImageError
from runtime.images.dataset import list_images
from runtime.images.preprocess import decode_rgb
from runtime.images.regions import Box
from runtime.inspector import Inspector

# Similarity below which a part is said to be like nothing seen before, see docs/neighbours.md.
SEEN_BEFORE = 0.6


@dataclass(frozen=True)
class Found:
    """Neighbours of one picture.

    Attributes:
        path: the picture.
        verdict: what the inspector says of it now.
        neighbours: best first.
        region: the box that they look like, or None for the whole part.
    """

    path: Path
    verdict: str
    neighbors: tuple[Neighbor, ...]
    region: Box | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields of ``search --json``."""
        return {
            "path": str(self.path),
            "verdict": self.verdict,
            **({"region": list(astuple(self.region))} if self.region is not None else {}),
            "neighbours": [
                {
                    "id": found.point.point_id,
                    "similarity": round(found.similarity, 6),
                    "path": found.point.path,
                    "verdict": found.point.verdict,
                    "defect_type": found.point.defect_type,
                }
                for found in self.neighbors
            ],
        }


def find_neighbors(
    inspector: Inspector,
    path: Path,
    store: NeighborStore,
    *,
    bundle: str,
    k: int = 5,
    where: SearchFilter | None = None,
    region: Box | None = None,
) -> Found:
    """Inspect a picture and find the stored parts most like it, the part itself left out.

    Args:
        inspector: the bundle on an engine.
        path: the picture.
        store: where to look.
        bundle: fingerprint of the inspector's bundle.
        k: number of neighbours.
        where: what they must satisfy.
        region: a box on the part to find the like of; the verdict is still the whole part's.

    Raises:
        ImageError: the picture cannot be read, or the box lies outside it.
        StoreError: the store cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ImageError(
            f"{path}: expected a picture, but it cannot be read ({error.strerror}); check the path"
        ) from error
    try:
        image_rgb = decode_rgb(content)
        prediction = inspector.inspect(image_rgb, strict=True)
        wanted = prediction
        if region is not None:
            piece = piece_around(region, image_rgb, inspector.roi)
            wanted = inspector.inspect(piece, strict=True)
    except ImageError as error:
        raise ImageError(f"{path}: {str(error).removeprefix('picture: ')}") from error
    where = where or SearchFilter()
    where = replace(where, exclude_ids=(*where.exclude_ids, point_id(content, bundle)))
    return Found(path, prediction.verdict, tuple(store.search(wanted.embedding, k, where)), region)


def pictures(paths: Iterable[Path]) -> list[Path]:
    """Files as they are, folders replaced by the pictures below them.

    Raises:
        DataError: a folder holds no picture.
    """
    return [found for path in paths for found in (list_images(path) if path.is_dir() else [path])]
