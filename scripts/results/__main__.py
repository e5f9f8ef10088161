"""``python -m scripts.results``: see :mod:`scripts.results`."""

from __future__ import annotations

import argparse
import platform
from pathlib import Path

from runtime.engines.base import available_cores
from runtime.images.dataset import load_category
from scripts.results import galleries, tables


def main() -> None:
    """Measure, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--demo", type=Path, default=Path("demo"), help="what make demo CATEGORY=all made"
    )
    parser.add_argument("--data", type=Path, help="data set  [default: DEMO/parts]")
    parser.add_argument("--out", type=Path, default=Path("docs/results.md"))
    parser.add_argument(
        "--published", action="store_true", help="add the published figures, for the real MVTec AD"
    )
    parser.add_argument(
        "--no-benchmarks", action="store_true", help="leave out peers and coreset (some minutes)"
    )
    options = parser.parse_args()
    data = options.data or options.demo / "parts"
    # A training that was killed may have left a folder with a dot.
    bundles = sorted(
        path for path in (options.demo / "bundles").iterdir() if not path.name.startswith(".")
    )
    images = options.out.parent / "images"

    rows = tables.lineside("evaluate", *bundles, "--data", data)
    rows = [row for row in rows if row.get("category") not in (None, "average")]
    timings = [
        row
        for bundle in bundles
        for engine in ("openvino", "onnxruntime")
        for row in tables.lineside("bench", bundle, "--engine", engine)
    ]
    pictures = []
    for name in sorted({row["category"] for row in rows}):
        category = load_category(data, name)
        own = {
            title: options.demo / "bundles" / f"{name}-{model}"
            for model, title in tables.TITLES.items()
        }
        galleries.heat_maps(category, own, images / f"results-{name}-maps.jpg")
        galleries.neighbors(
            category,
            own["PatchCore"],
            str(options.demo / "neighbours"),
            images / f"results-{name}-neighbours.jpg",
        )
        pictures.append(
            f"### {name}\n\n![{name}: parts, ground truth and heat "
            f"maps](images/results-{name}-maps.jpg)\n\n"
            f"![{name}: queries and their neighbors](images/results-{name}-neighbours.jpg)"
        )
    page = _page(rows, timings, bundles, pictures, published=options.published)
    if not options.no_benchmarks:
        page += _benchmarks()
    options.out.write_text(page, encoding="utf-8")


def _page(
    rows: tables.Rows,
    timings: tables.Rows,
    bundles: list[Path],
    pictures: list[str],
    *,
    published: bool,
) -> str:
    gallery = "\n\n".join(pictures)
    return f"""# Results

Made by `make results` from what `make demo CATEGORY=all` made; measured through the exported
bundles on {available_cores()} cores of {platform.machine()}.

## Accuracy

{tables.accuracy(rows, published=published)}

By kind of defect, image AUROC, and what the threshold from good parts alone lets through and
rejects:

{tables.defects(rows)}

## Latency

`lineside bench`: one picture from the file to the verdict. Beside anomalib's own inferencer:
`make bench`, figures in [speed](speed.md).

{tables.latency(timings)}

## Certificates

Every engine against anomalib's own torch prediction, differences relative to the range.

{tables.certificates(bundles)}

## Pictures

Each column is a part: as photographed, with its ground truth outlined, and under each model's heat
map with the model's verdict. Below, a part of each kind as a query (left) and the five parts of the
test set whose descriptors are most like its own. The color of a caption is the verdict.

{gallery}
"""


def _benchmarks() -> str:
    peers = tables.peers(tables.benchmark("peers", "--rounds", 8))
    coreset = tables.coreset(tables.benchmark("coreset", "--threads", 1, "--repeat", 1))
    return f"""
## Beside the peers

`make bench`: the same checkpoint and picture, in turn, in one process; times faster than
anomalib's OpenVINOInferencer in fp32, score difference to anomalib's torch model.

{peers}

## Coreset

`python -m benchmarks.coreset --threads 1`: anomalib's k-center greedy (extrapolated from
300 steps) beside ours on the same patches. See [the coreset](coreset.md).

{coreset}
"""


if __name__ == "__main__":
    main()
