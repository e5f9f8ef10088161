"""ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from runtime.engines.base import Arrays, available_cores
from runtime.errors import EngineError, require_extra


class OnnxRuntimeEngine:
    """One session on the CPU execution provider; several threads may run it at once.

    Args:
        model_path: ONNX file.
        device: only ``CPU`` (``AUTO`` means the same here).
        threads: CPU threads in all; None leaves the choice to ONNX Runtime.
        streams: number of threads that will call :meth:`run` at once; they share the CPU threads.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        EngineError: another device, or a model that cannot be loaded.
    """

    def __init__(
        self, model_path: Path, device: str = "CPU", threads: int | None = None, streams: int = 1
    ) -> None:
        require_extra("onnxruntime", "onnxruntime")
        import onnxruntime as ort

        if device not in ("CPU", "AUTO"):
            raise EngineError(
                f"device {device}: ONNX Runtime runs on CPU here; use --device CPU or --engine "
                "openvino"
            )
        options = ort.SessionOptions()
        options.log_severity_level = 3
        if threads is not None or streams > 1:
            options.intra_op_num_threads = max(1, (threads or available_cores()) // streams)
        try:
            self._session = ort.InferenceSession(
                str(model_path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's exceptions share no public base class
            reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise EngineError(
                f"{model_path}: ONNX Runtime could not load the model: {reason}; export it again"
            ) from error
        self._outputs = [output.name for output in self._session.get_outputs()]
        tensors = [*self._session.get_inputs(), *self._session.get_outputs()]
        self._shapes = {
            one.name: tuple(size if isinstance(size, int) else -1 for size in one.shape)
            for one in tensors
        }
        self._version = str(ort.__version__)

    @property
    def description(self) -> dict[str, Any]:
        """Engine, device and library version."""
        return {"engine": "onnxruntime", "device": "CPU", "version": self._version}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Static shapes by tensor name; a dynamic dimension is -1."""
        return self._shapes

    def run(self, inputs: Arrays) -> Arrays:
        """Run the graph once; see :class:`runtime.engines.base.Engine`."""
        try:
            values = self._session.run(self._outputs, inputs)
        except Exception as error:
            raise EngineError(
                f"onnxruntime: {str(error).splitlines()[0]}; run: lineside verify BUNDLE"
            ) from error
        return {name: np.asarray(value) for name, value in zip(self._outputs, values, strict=True)}

    def close(self) -> None:
        """Release the session."""
        self._session = None
