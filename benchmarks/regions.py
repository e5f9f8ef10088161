"""What to inspect for a box on a part: pieces of several sizes around it, or the whole part.

    python -m benchmarks.regions tile-patchcore --data parts

Boxes are the bounds of the ground-truth masks. Each defective part is a query through each piece,
against the whole-part descriptors of all other test parts. Printed are the share of defective parts
among the five nearest, the share with the query's own kind of defect, and how many parts are nearer
to the piece than the part it was cut from (median).
"""

from __future__ import annotations

from pathlib import Path

import click
import cv2
import numpy as np

import edge_app.region
from calibration.evaluation import find_category
from edge_app.region import piece_around
from runtime.images.dataset import GOOD, Part
from runtime.images.preprocess import decode_rgb
from runtime.images.regions import Box
from runtime.inspector import Inspector
from runtime.progress import track

K = 5
SHARES = (0.25, 0.35, 0.5, 0.7, 1.0)


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    help="MVTec-style root, or one category.",
)
@click.option("--every", default=1, show_default=True, help="Take every n-th defective part.")
def main(bundle: Path, data: Path, every: int) -> None:
    """Compare sizes of the inspected piece."""
    with Inspector(bundle) as inspector:
        parts = find_category(data, inspector.bundle.manifest.category, None).test
        stored = np.stack(
            [inspector.inspect(part.path).embedding for part in track(parts, "parts")]
        )
        kinds = np.array([part.defect_type for part in parts])
        boxes = {
            index: box for index, part in enumerate(parts) if (box := bounds(part)) is not None
        }
        for share in SHARES:
            edge_app.region.MIN_SHARE = share
            rows = []
            for index in track(list(boxes)[::every], f"share {share}"):
                piece = piece_around(boxes[index], decode_rgb(parts[index].path))
                similarity = stored @ inspector.inspect(piece).embedding
                nearer = int((similarity > similarity[index]).sum())
                similarity[index] = -np.inf
                top = kinds[np.argsort(-similarity)[:K]]
                rows.append(((top != GOOD).mean(), (top == kinds[index]).mean(), nearer))
            defective, same, nearer = zip(*rows, strict=True)
            click.echo(
                f"{bundle.name}  at least {share:.2f} of the part  n={len(rows)}  "
                f"defective@5 {np.mean(defective):.3f}  same_kind@5 {np.mean(same):.3f}  "
                f"nearer than itself {np.median(nearer):.0f}"
            )


def bounds(part: Part) -> Box | None:
    """The box around a part's defect, in pixels of its picture."""
    if part.mask_path is None:
        return None
    mask = cv2.imread(str(part.mask_path), cv2.IMREAD_GRAYSCALE)
    rows, columns = np.nonzero(mask > 127)
    if not len(rows):
        return None
    left, top = int(columns.min()), int(rows.min())
    return Box(left, top, int(columns.max()) - left + 1, int(rows.max()) - top + 1)


if __name__ == "__main__":
    main()
