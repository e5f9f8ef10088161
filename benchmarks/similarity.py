"""How alike parts are by their descriptors: of the same kind, of another, and a clean spot.

Behind the floor below which the screens say "nothing like this seen before".

python -m benchmarks.similarity tile-patchcore --data ROOT --category NAME
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_app.indexing import find_parts
from edge_app.region import piece_around
from edge_app.similar import SEEN_BEFORE
from runtime.images.dataset import Part
from runtime.images.preprocess import decode_rgb
from runtime.images.regions import Box
from runtime.inspector import Inspector
from runtime.types import UInt8Image

# A box of a quarter of the picture's sides, in its middle and towards a corner.
_PLACES = ((0.375, 0.375), (0.1, 0.1))
_SHARE = 0.25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--category", required=True)
    parser.add_argument("--most", type=int, default=20, help="parts of each kind")
    options = parser.parse_args()
    parts = chosen(find_parts(options.data / options.category / "test"), options.most)
    with Inspector(options.bundle) as inspector:
        kinds, rows, spots = [], [], []
        for part in parts:
            image_rgb = decode_rgb(part.path)
            found = inspector.inspect(image_rgb, strict=True)
            kinds.append(part.defect_type)
            rows.append(unit(found.embedding))
            if part.defect_type == "good":
                spots += [unit(clean_spot(inspector, image_rgb, place)) for place in _PLACES]
    report(np.array(kinds), np.array(rows), np.array(spots))


def chosen(parts: list[Part], most: int) -> list[Part]:
    by_kind: dict[str, list[Part]] = defaultdict(list)
    for part in parts:
        by_kind[part.defect_type].append(part)
    return [part for kind in sorted(by_kind) for part in by_kind[kind][:most]]


def clean_spot(
    inspector: Inspector, image_rgb: UInt8Image, place: tuple[float, float]
) -> npt.NDArray[np.float32]:
    shape = (image_rgb.shape[0], image_rgb.shape[1])
    box = Box.from_shares((*place, _SHARE, _SHARE), shape)
    piece = piece_around(box, image_rgb, inspector.roi)
    return inspector.inspect(piece, strict=True).embedding


def unit(embedding: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return embedding / max(float(np.linalg.norm(embedding)), 1e-12)


def report(
    kinds: npt.NDArray[np.str_], rows: npt.NDArray[np.float32], spots: npt.NDArray[np.float32]
) -> None:
    alike = rows @ rows.T
    np.fill_diagonal(alike, -1.0)
    is_bad = kinds != "good"
    same = (kinds[:, None] == kinds[None, :]) & ~np.eye(len(kinds), dtype=bool)
    bad, other = same & is_bad[:, None], ~same & is_bad[None, :]
    rows_of = {
        "bad part, nearest of its kind": nearest(alike, bad)[is_bad],
        "bad part, nearest bad one of another kind": nearest(alike, other)[is_bad],
        "good part, nearest good one": nearest(alike, same)[~is_bad],
        "good part, nearest bad one": nearest(alike, other)[~is_bad],
        "clean spot, nearest bad part": (spots @ rows[is_bad].T).max(axis=1),
        "clean spot, nearest part": (spots @ rows.T).max(axis=1),
    }
    print(f"{'query':44}{'n':>5}{'5 %':>8}{'25 %':>8}{'median':>8}{'95 %':>8}  below floor")
    for name, found in rows_of.items():
        values = found[found > -1.0]
        shown = "".join(f"{value:8.2f}" for value in np.quantile(values, [0.05, 0.25, 0.5, 0.95]))
        below = float((values < SEEN_BEFORE).mean())
        print(f"{name:44}{len(values):5}{shown}{below:12.0%}")


def nearest(
    alike: npt.NDArray[np.float32], allowed: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    return np.where(allowed, alike, -1.0).max(axis=1)


if __name__ == "__main__":
    main()
