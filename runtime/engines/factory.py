"""From an engine's name to an engine."""

from __future__ import annotations

from pathlib import Path

from runtime.engines.base import Engine
from runtime.manifest import EngineName


def open_engine(
    name: EngineName, model_path: Path, device: str = "CPU", threads: int | None = None, streams: int = 1
) -> Engine:
    """Load a model on an engine. The engine's library is imported here, so that the other one need not be installed.

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
