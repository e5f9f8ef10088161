"""``lineside train-many``."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command()
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@click.option("--model", required=True, help="As of lineside train.")
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    metavar="ROOT",
    help="Folder with a folder for each category.",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the bundles, each named as its category.",
)
@click.option(
    "--category", "categories", multiple=True, metavar="NAME", help="This one; several times."
)
@click.option(
    "--ray",
    default="local",
    show_default=True,
    metavar="local|ADDRESS",
    help="A Ray of this machine, or a cluster (auto or HOST:PORT) whose machines see data and "
    "bundles under the same paths.",
)
@click.option(
    "--cores", type=click.IntRange(min=1), default=1, show_default=True, help="Of one training."
)
def command(
    options: tuple[str, ...],
    model: str,
    data: Path,
    out: Path,
    categories: tuple[str, ...],
    ray: str,
    cores: int,
) -> None:
    """Train a model for each category, several beside each other on Ray.

    OPTIONS are others of lineside train, behind two dashes. A category whose bundle is there stays
    as it is, so after Ctrl-C the same command goes on. A training that fails or whose process is
    killed costs itself alone: it is tried once more, then told, and the command exits with 1.

    \b
    Example:
      lineside train-many --data parts --out bundles --model patchcore -- --size 256
    """
    from export.many import run_many, trainings
    from runtime.console import say
    from runtime.errors import require_extra
    from runtime.progress import track

    require_extra("train", "anomalib", "torch")
    jobs, before = trainings(data, out, categories, ("--model", model, *options))
    for name in before:
        click.echo(f"{name}: there already, {out / name}")
    failed = 0
    try:
        for done in track(run_many(jobs, ray, cores) if jobs else (), "training", len(jobs)):
            failed += bool(done.problem)
            said = f"failed: {done.problem}" if done.problem else f"trained, {out / done.name}"
            click.echo(f"{done.name}: {said} ({done.seconds:.0f} s)")
    except KeyboardInterrupt:
        say(f"{out}: finished bundles stay; the same command goes on from there")
        raise
    if failed:
        sys.exit(1)
