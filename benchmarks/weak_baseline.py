"""How hard the sample data is: a per-pixel mean and deviation model, which any model must beat.

    python -m benchmarks.weak_baseline --data parts

It learns mean and deviation of every pixel of the good training parts at 256 x 256, smooths a test
part's |z| and takes the maximum. Textures that move from part to part defeat it; a data set on
which it does well is too easy.
"""

from __future__ import annotations

import json
from pathlib import Path

import click
import cv2
import numpy as np
import numpy.typing as npt

from calibration.metrics import image_auroc
from runtime.images.dataset import list_categories, load_category
from runtime.images.preprocess import load_image

SIZE_HW = (256, 256)


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True, help="MVTec-style root.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a category on stdout.")
def main(data: Path, as_json: bool) -> None:
    """Image AUROC of the per-pixel model, by category."""
    for name in list_categories(data):
        auroc = weak_auroc(data, name)
        click.echo(
            json.dumps({"category": name, "image_auroc": auroc})
            if as_json
            else f"{name:<12} {auroc:.3f}"
        )


def weak_auroc(root: Path, name: str) -> float:
    """Image AUROC of the per-pixel model on one category."""
    category = load_category(root, name)
    train = np.stack([_load(path) for path in category.train_good])
    mean, deviation = train.mean(axis=0), train.std(axis=0) + 4.0
    scores = [
        float(
            cv2.GaussianBlur(
                np.abs((_load(part.path) - mean) / deviation).mean(axis=2), (0, 0), 4.0
            ).max()
        )
        for part in category.test
    ]
    return image_auroc([part.is_anomalous for part in category.test], scores)


def _load(path: Path) -> npt.NDArray[np.float32]:
    return load_image(path, SIZE_HW).astype(np.float32)


if __name__ == "__main__":
    main()
