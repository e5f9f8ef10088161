"""Points to store, and the brute-force answers to compare with."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_app.store import PartPoint
from edge_app.store.schema import point_id

BUNDLE = "0123456789abcdef" * 4
LENGTH = 24


def make_points(
    number: int, *, seed: int = 0, length: int = LENGTH, bundle: str = BUNDLE
) -> list[PartPoint]:
    vectors = np.random.default_rng(seed).normal(size=(number, length)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return [
        PartPoint(
            point_id=point_id(f"picture {seed} {index}".encode(), bundle),
            embedding=vector,
            bundle=bundle,
            category="tile" if index % 3 else "grid",
            path=f"/parts/{index:04d}.png",
            verdict="anomalous" if index % 2 else "good",
            raw_score=index / 2,
            normalized_score=index / number,
            defect_type="crack" if index % 2 else "good",
            time=f"2025-01-{index % 28 + 1:02d}T12:00:00+00:00",
            camera="left",
            thumbnail="dGh1bWI=",
        )
        for index, vector in enumerate(vectors)
    ]


def exact_order(query: npt.NDArray[np.float32], points: list[PartPoint]) -> list[tuple[float, str]]:
    """(cosine similarity, id) of every point in float64, best first."""
    rows = np.stack([point.embedding for point in points]).astype(np.float64)
    wanted = query.astype(np.float64)
    similarities = rows @ wanted / (np.linalg.norm(rows, axis=1) * np.linalg.norm(wanted))
    order = np.argsort(-similarities)
    return [(float(similarities[index]), points[index].point_id) for index in order]
