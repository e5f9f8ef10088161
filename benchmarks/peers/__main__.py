"""Lineside beside anomalib's inferencer, its torch model, plain ONNX Runtime and Model API.

    python -m benchmarks.peers                              all cases (some thirty minutes)
    python -m benchmarks.peers --case lite0-2048 --rounds 30 --json
    python -m benchmarks.peers --growth growth.png          how cost grows with bank, input size and
    cameras

The first table: every contestant gets the same decoded picture at the model's size. The second:
from a camera's picture on disk (1,024 px, JPEG) to the score. Contestants take turns in one
process; scores are compared with anomalib's torch model. The PatchCore checkpoints are anomalib's
own recipe (two layers, plain patches, re-weighted maximum); "own recipe" is Lineside's default with
as many prototypes. On processors with AMX OpenVINO runs fp32 graphs in bf16 unless told otherwise;
anomalib's inferencer is timed both ways. OpenVINO's Model API joins in where it is installed:
``pip install --no-deps openvino-model-api``.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from benchmarks.peers.cases import CASES
from benchmarks.peers.compare import run_case
from benchmarks.peers.contestants import BASELINE, PRECISIONS
from benchmarks.peers.draw import draw_growth
from benchmarks.peers.growth import measure_growth
from runtime.console import say


@click.command(help=__doc__)
@click.option(
    "--case",
    "names",
    multiple=True,
    type=click.Choice(list(CASES)),
    help="Only this case; repeatable.",
)
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    type=click.Choice(list(PRECISIONS)),
    help="Only this precision of Lineside; repeatable.",
)
@click.option("--rounds", default=15, show_default=True, help="Turns of each contestant.")
@click.option(
    "--image", type=click.Path(path_type=Path, exists=True), help="Picture for the second table."
)
@click.option(
    "--growth",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Measure growth instead of the cases, and draw it as PNG.",
)
@click.option(
    "--seconds", default=3.0, show_default=True, help="Length of each point of the growth."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a case on stdout.")
def main(
    names: tuple[str, ...],
    precisions: tuple[str, ...],
    rounds: int,
    image: Path | None,
    growth: Path | None,
    seconds: float,
    as_json: bool,
) -> None:
    """Time Lineside beside its peers, in turn, in one process."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    wanted = precisions or tuple(PRECISIONS)
    # The peers write into the working directory, so ours is another one meanwhile.
    image, growth = (path and path.absolute() for path in (image, growth))
    if growth is not None:
        with _workspace() as folder:
            rows = measure_growth(folder, wanted, seconds)
        draw_growth(rows, growth)
        _print_growth(rows, as_json=as_json)
        return
    for name in names or CASES:
        with _workspace() as folder:
            say(f"{name}: building")
            result = run_case(CASES[name], folder, rounds, wanted, image)
        if as_json:
            click.echo(json.dumps({"case": name, **asdict(CASES[name]), **result}))
        else:
            _print_case(name, result)
        # A later case may take long, or be interrupted; what is known is told.
        sys.stdout.flush()


@contextlib.contextmanager
def _workspace() -> Iterator[Path]:
    """An empty folder that is the working directory and holds the model cache."""
    before, repository = Path.cwd(), str(Path(__file__).resolve().parents[2])
    with tempfile.TemporaryDirectory() as name:
        os.environ["LINESIDE_CACHE_DIR"] = name
        # Fresh processes find the packages although the working directory is another one.
        os.environ["PYTHONPATH"] = os.pathsep.join(
            filter(None, [repository, os.environ.get("PYTHONPATH")])
        )
        os.chdir(name)
        try:
            yield Path(name)
        finally:
            os.chdir(before)


def _print_case(name: str, result: dict[str, Any]) -> None:
    for title, table in (
        ("decoded picture", "contestants"),
        ("from the file on disk", "from_file"),
    ):
        click.echo(f"\n{name}, {title} ({result['threads']} threads), ratios to {BASELINE}")
        for contestant, row in result[table].items():
            difference = row["score_difference"]
            told = (
                "scores of its own" if difference is None else f"score difference {difference:.1e}"
            )
            click.echo(
                f"  {contestant:<42} {row['p50_ms']:8.2f} ms  [{row['p10_ms']:.2f}, "
                f"{row['p90_ms']:.2f}]  "
                f"{row['times_faster']:6.2f}x  {told}"
            )


def _print_growth(rows: dict[str, list[dict[str, Any]]], *, as_json: bool) -> None:
    for axis, found in rows.items():
        for row in found:
            if as_json:
                click.echo(json.dumps({"growth": axis, **row}))
            else:
                click.echo(
                    f"{axis:<8}" + "  ".join(f"{key} {_short(value)}" for key, value in row.items())
                )


def _short(value: Any) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
