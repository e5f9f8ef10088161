"""Pictures of parts: truth, heat maps and verdicts of both models, and neighbors."""

from __future__ import annotations

from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np

from edge_app.fingerprint import bundle_fingerprint
from edge_app.similar import find_neighbors
from edge_app.store import open_store
from runtime.images.dataset import GOOD, Category, Part, load_mask
from runtime.images.preprocess import decode_rgb, resize
from runtime.inspector import Inspector
from runtime.types import UInt8Image

SIDE = 256
COLORS = {"good": "#15803d", "anomalous": "#b91c1c", "cannot_judge": "#b45309"}
plt.rcParams.update({"font.size": 9, "font.family": "sans-serif"})


def one_of_each(category: Category) -> list[Part]:
    """The first part of each kind of defect, then a good one."""
    kinds: dict[str, Part] = {}
    for part in category.test:
        kinds.setdefault(part.defect_type, part)
    return [part for kind, part in sorted(kinds.items()) if kind != GOOD] + [kinds[GOOD]]


def heat_maps(category: Category, bundles: dict[str, Path], out: Path) -> None:
    """Rows: part, truth, each model's map with its verdict; a column for each defect."""
    parts = one_of_each(category)
    rows = 2 + len(bundles)
    figure, axes = plt.subplots(rows, len(parts), figsize=(1.75 * len(parts), 1.9 * rows))
    images = [resize(decode_rgb(part.path), (SIDE, SIDE)) for part in parts]
    for column, (part, image) in enumerate(zip(parts, images, strict=True)):
        axes[0, column].imshow(image)
        axes[0, column].set_title(part.defect_type)
        axes[1, column].imshow(_outlined(image, part))
    for row, (model, bundle) in enumerate(bundles.items(), start=2):
        with Inspector(bundle) as inspector:
            for column, (part, image) in enumerate(zip(parts, images, strict=True)):
                prediction = inspector.inspect(part.path)
                axes[row, column].imshow(prediction.heat_overlay(image))
                axes[row, column].set_xlabel(prediction.verdict, color=COLORS[prediction.verdict])
        axes[row, 0].set_ylabel(model)
    axes[0, 0].set_ylabel("part")
    axes[1, 0].set_ylabel("ground truth")
    _save(figure, axes, out)


def neighbors(category: Category, bundle: Path, store: str, out: Path) -> None:
    """A flagged part of each kind and a good one, each with its five nearest."""
    parts = one_of_each(category)
    figure, axes = plt.subplots(len(parts), 6, figsize=(9.6, 1.85 * len(parts)))
    with Inspector(bundle) as inspector:
        fingerprint = bundle_fingerprint(inspector.bundle)
        length = inspector.bundle.manifest.outputs.embedding_length
        with open_store(store, bundle=fingerprint, embedding_length=length, create=False) as opened:
            for row, part in enumerate(parts):
                found = find_neighbors(inspector, part.path, opened, bundle=fingerprint)
                axes[row, 0].imshow(resize(decode_rgb(part.path), (SIDE, SIDE)))
                axes[row, 0].set_xlabel(found.verdict, color=COLORS[found.verdict])
                axes[row, 0].set_ylabel(part.defect_type, fontweight="bold")
                for column, neighbor in enumerate(found.neighbors, start=1):
                    point = neighbor.point
                    axes[row, column].imshow(resize(decode_rgb(Path(point.path)), (SIDE, SIDE)))
                    label = f"{point.defect_type or point.verdict} {neighbor.similarity:.2f}"
                    axes[row, column].set_xlabel(
                        label.replace("_", " "),
                        color=COLORS.get(point.verdict, "black"),
                        fontsize=min(10.0, 170.0 / len(label)),
                    )
    axes[0, 0].set_title("query")
    axes[0, 3].set_title("its five most similar parts")
    _save(figure, axes, out)


def _outlined(image: UInt8Image, part: Part) -> UInt8Image:
    mask = load_mask(part, (SIDE, SIDE)).astype(np.uint8)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(
        cv2.drawContours(image.copy(), contours, -1, (255, 0, 255), 2), dtype=np.uint8
    )


def _save(figure: plt.Figure, axes: np.ndarray, out: Path) -> None:
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
        for spine in axis.spines.values():
            spine.set_visible(False)
    figure.tight_layout(pad=0.4)
    out.parent.mkdir(parents=True, exist_ok=True)
    # JPEG: photographs of noise do not compress as PNG.
    figure.savefig(out, dpi=110, pil_kwargs={"quality": 85})
    plt.close(figure)
