"""What an engine is: arrays in, arrays out, by the names of the graph's tensors."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypedDict

import numpy as np
import numpy.typing as npt
import platformdirs

from runtime.bundle.manifest import EngineName

CACHE_VARIABLE = "LINESIDE_CACHE_DIR"
# What a graph gives out, and where inside it one part can take another's place.
PRED_SCORE = "pred_score"
ANOMALY_MAP = "anomaly_map"
EMBEDDING = "embedding"
OUTPUTS = (PRED_SCORE, ANOMALY_MAP, EMBEDDING)
# What the networks say, before distances are computed from it: "features0", ...
FEATURES_PREFIX = "features"
# PatchCore's few most anomalous patches, float32 (n, D) around the bank's mean, the most anomalous
# one first.
TOP_PATCHES = "top_patches"
# |y|^2 - 2xy of those patches x and all prototypes y, float32 (n, K).
TOP_PARTIALS = "top_partials"
# Row of the prototype nearest to each, (n,).
TOP_PROTOTYPES = "top_prototypes"
# Rows of the prototypes nearest to the first one's, for the paper's re-weighting, (neighbours,).
SUPPORT = "support"

Arrays = dict[str, npt.NDArray[np.generic]]


class Engine(Protocol):
    """A compiled graph, safe under threads. Results are copies: they survive the next call."""

    @property
    def description(self) -> dict[str, Any]:
        """Engine, device and library version, as plain JSON."""

    def run(self, inputs: Arrays) -> Arrays:
        """Run the graph once.

        Args:
            inputs: arrays by input name.

        Returns:
            Arrays by output name; each is the caller's own copy.
        """

    def close(self) -> None:
        """Release the compiled model."""


class EngineOptions(TypedDict, total=False):
    """What the options --engine, --precision, --device ... say, see ``Inspector``."""

    engine: str | Engine
    precision: str
    device: str
    threads: int | None
    deadline_s: float
    signed_by: Path | str | None
    isolate: bool


def available_cores() -> int:
    """CPU cores that this process may use: a container's share, not the machine's."""
    try:
        return max(1, len(os.sched_getaffinity(0)))
    except AttributeError:  # not on this platform
        return os.cpu_count() or 1


def open_engine(
    name: EngineName,
    model_path: Path,
    device: str = "CPU",
    threads: int | None = None,
    streams: int = 1,
) -> Engine:
    """Load a model on an engine; its library is imported here, so the other need not be installed.

    Args:
        name: ``openvino`` or ``onnxruntime``.
        model_path: the variant's model file.
        device: see the engine.
        threads: CPU threads, or None for the engine's own choice.
        streams: number of threads that will run the engine at once.

    Raises:
        EngineError: device missing or model unusable.
        MissingExtraError: the engine's package is not installed.
    """
    if name == "openvino":
        from runtime.engines.openvino import OpenVINOEngine

        return OpenVINOEngine(model_path, device, threads, streams)
    from runtime.engines.onnxruntime import OnnxRuntimeEngine

    return OnnxRuntimeEngine(model_path, device, threads, streams)


def model_cache_dir() -> Path | None:
    """Folder for OpenVINO's compiled models, or None where none can be written.

    ``LINESIDE_CACHE_DIR`` chooses another place; set to an empty string it turns the cache off.
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen == "":
        return None
    root = (
        Path(chosen) if chosen else Path(platformdirs.user_cache_dir("lineside", appauthor=False))
    )
    folder = root / "openvino"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


def empty_model_cache() -> bool:
    """Delete the compiled models; they are made anew when they are needed.

    Returns:
        Whether there were any.
    """
    folder = model_cache_dir()
    blobs = [] if folder is None else list(folder.rglob("*.blob"))
    for blob in blobs:
        blob.unlink(missing_ok=True)
    return bool(blobs)


class FakeEngine:
    """An engine that computes what a function says, for tests of what stands on an inspector.

    As httpx's ``MockTransport``: it takes the place of the network, and all else is real.

    Args:
        handler: from arrays by input name (``image``, uint8 (1, H, W, 3), RGB) to arrays by output
            name: ``pred_score`` (1,), ``anomaly_map`` (1, 1, h, w), ``embedding`` (1, D), all
            float32.
    """

    def __init__(self, handler: Callable[[Arrays], Arrays]) -> None:
        self._handler = handler

    @property
    def description(self) -> dict[str, Any]:
        """As of an engine."""
        return {"engine": "fake", "device": "CPU", "version": "0"}

    def run(self, inputs: Arrays) -> Arrays:
        """What the function says."""
        return self._handler(inputs)

    def close(self) -> None:
        """Nothing to release."""
