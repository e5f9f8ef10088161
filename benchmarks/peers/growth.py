"""How latency and memory grow with the bank, the input size and the number of cameras."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.peers.cases import Checkpoint, PatchCoreCase, pictures
from benchmarks.peers.contestants import PRECISIONS
from runtime.bundle.manifest import EngineName
from runtime.console import say

BANKS = (1024, 2048, 5120, 10240, 20480, 51200, 102400)
SIDES = (256, 320, 384, 448, 512)
CAMERAS = (1, 2, 4, 8)
# For the curves in which it does not vary.
BANK = 10240
# A fresh process for each point: what it holds in memory is then its own.
_PROBE = """
import json, sys, threading, time
import numpy as np
from pathlib import Path
from runtime.bench.start import peak_rss_mib
from runtime.engines.base import open_engine
from runtime.engines.base import available_cores
name, model, picture, cameras, shared, seconds = sys.argv[1:]
cameras, shared = int(cameras), shared == "shared"
image = {"image": np.load(picture)[None]}
streams = min(cameras, available_cores())
count = 1 if shared else cameras
engines = [open_engine(name, Path(model), streams=streams if shared else 1) for _ in range(count)]
times = [[] for _ in range(cameras)]
def watch(index):
    engine = engines[index % count]
    for _ in range(3):
        engine.run(image)
    ready.wait()
    end = time.perf_counter() + float(seconds)
    while len(times[index]) < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        engine.run(image)
        times[index].append((time.perf_counter() - start) * 1000.0)
ready = threading.Barrier(cameras)
threads = [threading.Thread(target=watch, args=(index,)) for index in range(cameras)]
began = time.perf_counter()
for thread in threads: thread.start()
for thread in threads: thread.join()
every = [one for own in times for one in own]
rate = sum(1000.0 / np.median(own) for own in times)
print(json.dumps({"p50_ms": float(np.median(every)), "images_per_second": rate,
                  "peak_rss_mib": peak_rss_mib()}))
"""
Row = dict[str, Any]


def measure_growth(folder: Path, precisions: Sequence[str], seconds: float) -> dict[str, list[Row]]:
    """All three curves, on OpenVINO, of the recipe that Lineside trains by default.

    Args:
        folder: for models.
        precisions: of Lineside's variants.
        seconds: length of each point's measurement.
    """
    base = PatchCoreCase(max(BANKS), own_recipe=True)
    torch.manual_seed(0)
    say(f"growth: features for {base.bank} prototypes")
    checkpoint = base.build()
    rows: dict[str, list[Row]] = {"bank": [], "side": [], "cameras": []}
    bank = checkpoint.model.model.memory_bank
    for precision in precisions:
        for size in BANKS:
            shrunk = _with_bank(checkpoint, bank[:size])
            model = PRECISIONS[precision](shrunk, folder / f"bank{size}{precision}")
            rows["bank"].append(
                _point(model, folder, base.size_hw[0], "bank", size, precision, seconds)
            )
            if size == BANK:
                rows["cameras"] += _cameras(model, folder, precision, seconds)
        for side in SIDES:
            case = replace(base, bank=BANK, size_hw=(side, side))
            model = PRECISIONS[precision](case.build(), folder / f"side{side}{precision}")
            rows["side"].append(_point(model, folder, side, "side", side, precision, seconds))
    return rows


def _with_bank(checkpoint: Checkpoint, bank: torch.Tensor) -> Checkpoint:
    checkpoint.model.model.memory_bank = bank.contiguous()
    return checkpoint


def _cameras(
    model: dict[EngineName, Path], folder: Path, precision: str, seconds: float
) -> list[Row]:
    return [
        {
            **_point(model, folder, 256, "cameras", count, precision, seconds, shared=shared),
            "shared": shared,
        }
        for shared in (True, False)
        for count in CAMERAS
    ]


def _point(
    models: dict[EngineName, Path],
    folder: Path,
    side: int,
    axis: str,
    value: int,
    precision: str,
    seconds: float,
    *,
    shared: bool = True,
) -> Row:
    picture = folder / f"picture{side}.npy"
    np.save(picture, pictures(1, side=side)[0])
    cameras = value if axis == "cameras" else 1
    arguments = [
        "openvino",
        models["openvino"],
        picture,
        cameras,
        "shared" if shared else "own",
        seconds,
    ]
    # Twice: the first fills the model cache, so that the second's peak is that of running, not of
    # compiling.
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", _PROBE, *map(str, arguments)],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    row = {axis: value, "precision": precision, **json.loads(done.stdout)}
    say(
        "growth: "
        + "  ".join(
            f"{key} {found if isinstance(found, str) else round(found, 1)}"
            for key, found in row.items()
        )
    )
    return row
