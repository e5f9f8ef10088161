"""Coreset selection side by side with anomalib's KCenterGreedy, on the same patches and threads.

    python -m benchmarks.coreset                                              synthetic patches
    python -m benchmarks.coreset --images parts/tile/train/good --exact       patches of real
    pictures

anomalib's loop does the same work in every step, so some steps of it are timed and the rest is
extrapolated (``--full`` runs all of them). Each method runs in a process of its own, which is where
peak memory is taken: growth of the peak above what the process held once the patches were loaded.
``--exact`` adds plain greedy, one matrix-vector product a step, from our first patch: the selection
that ours must equal.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import click
import numpy as np
import torch
from threadpoolctl import threadpool_limits

from calibration.learning.coreset import covering_radius, select_coreset
from runtime.console import emit_json, say
from runtime.errors import DataError, LinesideError
from runtime.progress import track

DIMENSIONS = 152
Result = TypeVar("Result")


def synthetic_patches(count: int, seed: int) -> torch.Tensor:
    """60 Gaussians of rank 24 with a falling spectrum, a little noise everywhere, and a ReLU.

    Returns:
        (count, 152) float32.
    """
    generator = torch.Generator().manual_seed(seed)
    clusters, rank = 60, 24
    means = torch.randn(clusters, DIMENSIONS, generator=generator)
    axes = torch.randn(clusters, rank, DIMENSIONS, generator=generator) / DIMENSIONS**0.5
    axes *= 3 * torch.arange(1, rank + 1).pow(-0.5)[:, None]
    owner = torch.randint(clusters, (count,), generator=generator)
    patches = torch.empty(count, DIMENSIONS)
    for cluster in range(clusters):
        members = (owner == cluster).nonzero()[:, 0]
        patches[members] = (
            means[cluster] + torch.randn(len(members), rank, generator=generator) @ axes[cluster]
        )
    patches += 0.1 * torch.randn(count, DIMENSIONS, generator=generator)
    return patches.relu_()


def image_patches(folder: Path, count: int) -> torch.Tensor:
    """Patches of lite0's blocks.2 and blocks.4 at 256 px, 1,024 a picture.

    Returns:
        (at most count, 152) float32.

    Raises:
        DataError: the folder holds no picture.
    """
    from torch.nn import functional

    from export.backbones.extractors import make_extractor, normalization_of
    from export.backbones.layers import DEFAULT_BACKBONE, DEFAULT_LAYERS
    from runtime.images.preprocess import IMAGE_SUFFIXES, load_image

    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise DataError(
            f"{folder}: expected pictures, found none; give a folder of them with --images"
        )
    extractor = make_extractor(DEFAULT_BACKBONE, DEFAULT_LAYERS[DEFAULT_BACKBONE], None)
    normalization = normalization_of(DEFAULT_BACKBONE)
    mean, std = (
        torch.tensor(values)[:, None, None] for values in (normalization.mean, normalization.std)
    )
    found: list[torch.Tensor] = []
    with torch.no_grad():
        for path in track(files[: -(-count // 1024)], "extracting patches"):
            image = torch.from_numpy(load_image(path, (256, 256))).permute(2, 0, 1) / 255
            maps = [
                functional.avg_pool2d(m, 3, 1, 1)
                for m in extractor(((image - mean) / std)[None]).values()
            ]
            size = maps[0].shape[-2:]
            stacked = torch.cat(
                [functional.interpolate(m, size=size, mode="bilinear") for m in maps], 1
            )
            found.append(stacked[0].flatten(1).T)
    return torch.cat(found)[:count].contiguous()


def peak_mib() -> float:
    """Largest resident memory of this process so far."""
    status = Path("/proc/self/status")
    if status.exists():
        # On Linux ru_maxrss survives exec, so a fresh process would start with its parent's peak.
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        2**20 if sys.platform == "darwin" else 2**10
    )


def timed(
    path: Path, threads: int, choose: Callable[[torch.Tensor], torch.Tensor]
) -> dict[str, Any]:
    """Load the patches, let one method choose, and measure time and memory."""
    torch.set_num_threads(threads)
    patches = torch.from_numpy(np.load(path))
    before = peak_mib()
    with threadpool_limits(threads):
        start = time.perf_counter()
        chosen = choose(patches)
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak_mib": peak_mib() - before, "selected": chosen.tolist()}


def run_ours(path: Path, threads: int, n_select: int, seed: int) -> dict[str, Any]:
    """Our selection."""
    return timed(
        path,
        threads,
        lambda patches: torch.from_numpy(select_coreset(patches.numpy(), n_select, seed)),
    )


def run_anomalib(path: Path, threads: int, n_select: int, seed: int) -> dict[str, Any]:
    """The first ``n_select`` steps of anomalib's, and the share of its random projection."""
    from anomalib.models.components.sampling import KCenterGreedy

    projecting = 0.0

    def choose(patches: torch.Tensor) -> torch.Tensor:
        nonlocal projecting
        torch.manual_seed(seed)
        # The coreset's size is int(ratio * N); half a patch more keeps rounding from taking one
        # away.
        sampler = KCenterGreedy(patches, (n_select + 0.5) / len(patches))
        fit, transform = sampler.model.fit, sampler.model.transform

        def stopwatch(step: Callable[[torch.Tensor], Any]) -> Callable[[torch.Tensor], Any]:
            def measured(embedding: torch.Tensor) -> Any:
                nonlocal projecting
                start = time.perf_counter()
                value = step(embedding)
                projecting += time.perf_counter() - start
                return value

            return measured

        sampler.model.fit, sampler.model.transform = stopwatch(fit), stopwatch(transform)
        return torch.tensor(sampler.select_coreset_idxs())

    return {**timed(path, threads, choose), "projection_seconds": projecting}


def run_exact(path: Path, threads: int, n_select: int, first: int) -> dict[str, Any]:
    """Plain greedy without a projection, one matrix-vector product a step."""

    def choose(patches: torch.Tensor) -> torch.Tensor:
        patches -= patches.mean(0)
        norms = patches.square().sum(1)
        nearest = torch.full_like(norms, torch.inf)
        chosen = [first]
        for _ in range(n_select - 1):
            last = chosen[-1]
            torch.minimum(nearest, norms + norms[last] - 2 * (patches @ patches[last]), out=nearest)
            nearest[last] = -1
            chosen.append(int(nearest.argmax()))
        return torch.tensor(chosen)

    return timed(path, threads, choose)


def apart(function: Callable[..., Result], *arguments: Any) -> Result:
    """Call a function in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def compare(
    patches: torch.Tensor,
    path: Path,
    n_select: int,
    steps: int,
    repeat: int,
    threads: int,
    seed: int,
    exact: bool,
) -> dict[str, Any]:
    """Run the methods one after the other and put the figures side by side."""
    steps = min(steps, n_select - 1)
    say(f"ours: {n_select} of {len(patches)} patches, {repeat} times")
    runs = [apart(run_ours, path, threads, n_select, seed) for _ in range(repeat)]
    ours, rows = np.array(runs[0]["selected"]), patches.numpy()
    say(f"anomalib: {steps} of {n_select - 1} steps")
    theirs = apart(run_anomalib, path, threads, steps + 1, seed)
    a_step = (theirs["seconds"] - theirs["projection_seconds"]) / steps
    seconds = median(run["seconds"] for run in runs)
    total = theirs["projection_seconds"] + a_step * (n_select - 1)
    result: dict[str, Any] = {
        "patches": len(patches),
        "dimensions": patches.shape[1],
        "selected": n_select,
        "threads": threads,
        "ours_seconds": seconds,
        "ours_runs_seconds": [run["seconds"] for run in runs],
        "ours_peak_mib": max(run["peak_mib"] for run in runs),
        "anomalib_seconds": total,
        "anomalib_steps_timed": steps,
        "anomalib_extrapolated": steps < n_select - 1,
        "anomalib_peak_mib": theirs["peak_mib"],
        "times_faster": total / seconds,
        "radius": covering_radius(rows, ours),
        "radius_after_steps": covering_radius(rows, ours[: steps + 1]),
        "anomalib_radius_after_steps": covering_radius(rows, np.array(theirs["selected"])),
    }
    if exact:
        say("plain greedy, one matrix-vector product a step")
        reference = apart(run_exact, path, threads, n_select, int(ours[0]))
        result["exact_seconds"] = reference["seconds"]
        result["exact_radius"] = covering_radius(rows, np.array(reference["selected"]))
        result["same_patches"] = (
            len(set(reference["selected"]) & set(runs[0]["selected"])) / n_select
        )
    return result


def report(result: dict[str, Any]) -> str:
    """The figures as text."""
    steps = result["anomalib_steps_timed"]
    how = f"extrapolated from {steps} steps" if result["anomalib_extrapolated"] else "all steps run"
    lines = [
        f"{result['selected']} of {result['patches']} patches, {result['dimensions']} dimensions, "
        f"{result['threads']} thread(s)",
        f"anomalib       {result['anomalib_seconds']:9.1f} s ({how}), peak "
        f"{result['anomalib_peak_mib']:.0f} MiB",
        f"ours           {result['ours_seconds']:9.1f} s (median of "
        f"{len(result['ours_runs_seconds'])}), "
        f"peak {result['ours_peak_mib']:.0f} MiB",
        f"ratio          {result['times_faster']:9.0f} times faster",
        f"radius         {result['radius']:9.4f} ours",
        f"after {steps + 1:<9d}{result['radius_after_steps']:9.4f} ours, "
        f"{result['anomalib_radius_after_steps']:.4f} anomalib",
    ]
    if "exact_radius" in result:
        lines.append(
            f"plain greedy   {result['exact_radius']:9.4f} radius, {result['exact_seconds']:.1f} "
            "s, "
            f"{result['same_patches']:.2%} of the patches the same"
        )
    return "\n".join(lines)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--patches", default=200_000, show_default=True, help="Number of patches.")
@click.option(
    "--select", "n_select", default=20_000, show_default=True, help="Size of the coreset."
)
@click.option(
    "--images",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of pictures.",
)
@click.option(
    "--anomalib-steps", default=300, show_default=True, help="Steps of anomalib's loop to time."
)
@click.option("--full", is_flag=True, help="Run all of anomalib's steps (about an hour).")
@click.option("--exact", is_flag=True, help="Compare with plain greedy (minutes).")
@click.option("--repeat", default=3, show_default=True, help="Runs of ours; the median counts.")
@click.option("--threads", default=torch.get_num_threads(), show_default=True, help="For both.")
@click.option("--seed", default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def main(
    patches: int,
    n_select: int,
    images: Path | None,
    anomalib_steps: int,
    full: bool,
    exact: bool,
    repeat: int,
    threads: int,
    seed: int,
    as_json: bool,
) -> None:
    """Time coreset selection against anomalib's."""
    try:
        features = (
            synthetic_patches(patches, seed) if images is None else image_patches(images, patches)
        )
        if not 2 <= n_select <= len(features):
            raise click.UsageError(
                f"--select: expected 2 to {len(features)} (patches there are), found {n_select}"
            )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "patches.npy"
            np.save(path, features.numpy())
            steps = n_select - 1 if full else anomalib_steps
            result = compare(features, path, n_select, steps, repeat, threads, seed, exact)
    except LinesideError as error:
        raise click.ClickException(str(error)) from error
    emit_json(result) if as_json else click.echo(report(result))


if __name__ == "__main__":
    main()
