"""What a recipe is worth: AUROC and AUPRO (30 and 5 %) of its bundle over several seeds.

    python -m benchmarks.accuracy --data parts      (the defaults of both models)
    python -m benchmarks.accuracy --data ROOT --category mtd --recipe paper --recipe mine.toml

``--recipe`` names one of the recipes below, which differ from the default in one choice each, a
TOML file (docs/recipes.md), or a peer: anomalib's MH-PatchCore with our backbone, its own bank of
1,000 rows or one of 10,000 as ours (benchmarks/mh_patchcore.py). Training, export and figures are
those of ``lineside train`` and ``lineside evaluate``, so what is measured is what a box would say.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from runtime.console import say
from runtime.images.dataset import list_categories

TWO_LAYERS = 'layers = ["blocks.2", "blocks.4"]'
# Recipes by name: the text of their TOML file.
RECIPES = {
    "patchcore": 'model = "patchcore"',
    "paper": f'model = "patchcore"\n{TWO_LAYERS}\ndimensions = 0\nscore_share = 0.0',
    "two-layers": f'model = "patchcore"\n{TWO_LAYERS}',
    "128-dimensions": 'model = "patchcore"\ndimensions = 128',
    "no-whitening": 'model = "patchcore"\nwhitening = 0.0',
    "maximum": 'model = "patchcore"\nscore_share = 0.0',
    "no-blur": 'model = "patchcore"\nscore_blur = 0.0',
    "2000-prototypes": 'model = "patchcore"\nmax_prototypes = 2000',
    "20000-prototypes": 'model = "patchcore"\nmax_prototypes = 20000',
    "320-pixels": 'model = "patchcore"\nsize_hw = [320, 320]',
    "efficientad": 'model = "efficientad"',
    "paper-efficientad": 'model = "efficientad"\nstudent = "pixels"',
}
# anomalib's own, by the size of the bank.
PEERS = {"mh-patchcore": 1_000, "mh-patchcore-10000": 10_000}
FIGURES = ("image_auroc", "pixel_auroc", "aupro", "aupro_05")


def run(*arguments: object) -> str:
    """A command's stdout; its progress goes to this one's stderr."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "lineside", *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise click.ClickException(f"lineside {' '.join(map(str, arguments))} failed")
    return done.stdout


def measure(recipe: Path, data: Path, category: str, seed: int, folder: Path) -> dict[str, Any]:
    """Train, export and evaluate once."""
    bundle = folder / "bundle"
    learn = ("--recipe", recipe, "--data", data, "--category", category, "--seed", seed)
    run("train", *learn, "--out", bundle)
    manifest = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    row = json.loads(run("evaluate", bundle, "--data", data, "--json").splitlines()[0])
    return {
        "seed": seed,
        "seconds": manifest["provenance"]["train_seconds"],
        **{name: row[name] for name in FIGURES},
    }


def rows(
    recipes: dict[str, str], data: Path, categories: list[str], seeds: int
) -> Iterator[dict[str, Any]]:
    """One row a recipe and category, as soon as it is known."""
    for category in categories:
        for name, text in recipes.items():
            runs = []
            for seed in range(seeds):
                say(f"{category}: {name}, seed {seed}")
                runs.append(_measured(name, text, data, category, seed))
            yield {"category": category, "recipe": name, "runs": runs}


def _measured(name: str, text: str, data: Path, category: str, seed: int) -> dict[str, Any]:
    """The figures of a recipe, by its text, or of a peer, by its name."""
    if name in PEERS:
        # Torch is of no use to the recipes, whose commands run in processes of their own.
        from benchmarks.mh_patchcore import measure_mh_patchcore

        return measure_mh_patchcore(data, category, seed, PEERS[name])
    with tempfile.TemporaryDirectory(prefix="lineside-accuracy-") as folder:
        recipe = Path(folder, "recipe.toml")
        recipe.write_text(text, encoding="utf-8")
        return measure(recipe, data, category, seed, Path(folder))


def table(found: list[dict[str, Any]]) -> Table:
    """Means, with the range from lowest to highest where there are several seeds."""
    shown = Table(box=None)
    for name in (
        "category",
        "recipe",
        "seeds",
        "image AUROC",
        "pixel AUROC",
        "AUPRO",
        "AUPRO 5 %",
        "trained in",
    ):
        shown.add_column(
            name, justify="left" if name in ("category", "recipe") else "right", no_wrap=True
        )
    for row in found:
        cells = []
        for name in FIGURES:
            values = [one[name] for one in row["runs"] if one[name] is not None]
            spread = f" ({min(values):.3f}-{max(values):.3f})" if len(values) > 1 else ""
            cells.append(f"{statistics.fmean(values):.3f}{spread}" if values else "-")
        seconds = statistics.fmean(one["seconds"] for one in row["runs"])
        shown.add_row(
            row["category"], row["recipe"], str(len(row["runs"])), *cells, f"{seconds:.0f} s"
        )
    return shown


@click.command(help=__doc__)
@click.option("--data", type=click.Path(path_type=Path), required=True, help="MVTec-style root.")
@click.option("--category", "categories", multiple=True, help="Repeatable.  [default: all]")
@click.option(
    "--recipe",
    "names",
    multiple=True,
    metavar="NAME|FILE",
    help=f"Repeatable: {', '.join((*RECIPES, *PEERS))} or a TOML file.  "
    "[default: patchcore, efficientad]",
)
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a row on stdout.")
def main(
    data: Path, categories: tuple[str, ...], names: tuple[str, ...], seeds: int, as_json: bool
) -> None:
    """Measure recipes."""
    chosen = {}
    for name in names or ("patchcore", "efficientad"):
        known = {**RECIPES, **dict.fromkeys(PEERS, "")}
        if name not in known and not Path(name).is_file():
            raise click.UsageError(
                f"--recipe: expected {', '.join(known)} or a TOML file, found {name!r}"
            )
        chosen[name] = known[name] if name in known else Path(name).read_text(encoding="utf-8")
    found = []
    for row in rows(chosen, data, list(categories) or list_categories(data), seeds):
        found.append(row)
        if as_json:
            click.echo(json.dumps(row))
    if not as_json:
        console = Console(highlight=False)
        console.width = max(console.width, 130)
        console.print(table(found))


if __name__ == "__main__":
    main()
