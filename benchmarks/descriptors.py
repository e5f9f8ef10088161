"""Which descriptor finds parts with the same defect, leave-one-out: the bundle's beside others.

    python -m benchmarks.descriptors tile-patchcore --data parts

Every test part is a query once, against all other test parts. Candidates: the bundle's descriptor,
the same without the dimension that carries the judgement, and global average pooling. Printed are,
over groups of queries: the share of defective parts among the five nearest, the share with the
query's own kind of defect (for a good part: of good ones), and the mean average precision of that
kind. Groups: flagged parts, flagged parts that are defective (the others are false alarms, whose
neighbors may well be good), all defective ones, and good parts that were let pass.
"""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import torch

from calibration.evaluation import find_category
from export.backbones.extractors import make_extractor, normalization_of
from export.backbones.layers import DEFAULT_BACKBONE, default_layers
from runtime.images.dataset import GOOD
from runtime.images.preprocess import load_image
from runtime.inspector import Inspector
from runtime.progress import track

K = 5
Vectors = npt.NDArray[np.float32]


@click.command()
@click.argument("bundles", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    help="MVTec-style root, or one category.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a row.")
def main(bundles: tuple[Path, ...], data: Path, as_json: bool) -> None:
    """Compare descriptors."""
    for bundle in bundles:
        with Inspector(bundle) as inspector:
            category = find_category(data, inspector.bundle.manifest.category, None)
            found = [inspector.inspect(part.path) for part in track(category.test, str(bundle))]
            size_hw = inspector.size_hw
        kinds = np.array([part.defect_type for part in category.test])
        flagged = np.array([prediction.verdict == "anomalous" for prediction in found])
        whole = np.stack([prediction.embedding for prediction in found])
        candidates = {
            "defect descriptor": whole,
            "direction alone": whole[:, :-1] / np.linalg.norm(whole[:, :-1], axis=1, keepdims=True),
            "global average": pooled([part.path for part in category.test], size_hw),
        }
        groups = {
            "flagged": flagged,
            "flagged, defective": flagged & (kinds != GOOD),
            "defective": kinds != GOOD,
            "good, passed": ~flagged & (kinds == GOOD),
        }
        for candidate, vectors in candidates.items():
            for queries, chosen in groups.items():
                row = {
                    "bundle": bundle.name,
                    "descriptor": candidate,
                    "queries": queries,
                    "number": int(chosen.sum()),
                    **measure(vectors, kinds, chosen),
                }
                click.echo(
                    json.dumps(row)
                    if as_json
                    else "  ".join(
                        f"{value:.3f}" if isinstance(value, float) else str(value)
                        for value in row.values()
                    )
                )


def measure(
    vectors: Vectors, kinds: npt.NDArray[np.str_], chosen: npt.NDArray[np.bool_]
) -> dict[str, float]:
    """Figures over the chosen queries: share defective and of the same kind in the top 5, mAP."""
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -np.inf)
    order = np.argsort(-similarity, axis=1)[:, :-1]
    top = kinds[order[:, :K]]
    same = kinds[order] == kinds[:, None]
    precision = np.cumsum(same, axis=1) / np.arange(1, same.shape[1] + 1)
    average = (precision * same).sum(axis=1) / np.maximum(same.sum(axis=1), 1)
    return {
        "defective@5": float((top[chosen] != GOOD).mean()),
        "same_kind@5": float((top == kinds[:, None])[chosen].mean()),
        "mAP": float(average[chosen].mean()),
    }


def pooled(paths: list[Path], size_hw: tuple[int, int]) -> Vectors:
    """Global average pooling of the default backbone's features, L2-normalized."""
    layers = default_layers(DEFAULT_BACKBONE)
    extractor, normalization = (
        make_extractor(DEFAULT_BACKBONE, layers, None),
        normalization_of(DEFAULT_BACKBONE),
    )
    mean, std = (
        torch.tensor(value).view(1, 3, 1, 1) for value in (normalization.mean, normalization.std)
    )
    rows = []
    for path in paths:
        image = torch.from_numpy(load_image(path, size_hw)).permute(2, 0, 1)[None].float() / 255.0
        with torch.no_grad():
            maps = extractor((image - mean) / std)
        rows.append(torch.cat([maps[layer].mean(dim=(2, 3)) for layer in layers], dim=1)[0].numpy())
    vectors = np.stack(rows)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


if __name__ == "__main__":
    main()
