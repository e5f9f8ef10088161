"""OpenVINO: CPU, GPU, NPU or AUTO."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np

from runtime.engines.base import Arrays
from runtime.engines.cache import record_checksums, trusted_cache
from runtime.engines.quiet import ov
from runtime.engines.winograd import is_switched_on, may_have_such, with_fewer_products
from runtime.errors import EngineError

# The binding sets up a table when it wraps an array for the first time, and lets go of the
# interpreter lock meanwhile. Two threads that both come first wait for each other for ever, so the
# first time is here, where there is one.
ov.Tensor(np.zeros(1, dtype=np.uint8), shared_memory=True)


class OpenVINOEngine:
    """One compiled model, with one inference request for each thread that calls it.

    Args:
        model_path: IR (.xml beside its .bin) or ONNX file.
        device: ``CPU``, ``GPU``, ``GPU.1``, ``NPU`` or ``AUTO``.
        threads: CPU threads; None leaves the choice to OpenVINO.
        streams: 1 for the lowest latency of one picture; more let as many threads run at once for
            throughput.
        inference_precision: ``f32`` unless the variant was proven at less: processors with AMX and
            Intel GPUs would otherwise run fp32 graphs in bf16 or fp16, and |x|^2 + |y|^2 - 2xy
            cancels at that precision.

    Raises:
        EngineError: the device is not there, or the model cannot be compiled.
    """

    def __init__(
        self,
        model_path: Path,
        device: str = "CPU",
        threads: int | None = None,
        streams: int = 1,
        inference_precision: str = "f32",
    ) -> None:
        core = ov.Core()
        # Mapped weights are the file's: whoever writes over it would change the verdicts, or end
        # the process.
        core.set_property({"ENABLE_MMAP": "NO"})
        _require_device(core, device)
        config: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY" if streams == 1 else "THROUGHPUT",
            "INFERENCE_PRECISION_HINT": inference_precision,
        }
        if threads is not None:
            config["INFERENCE_NUM_THREADS"] = threads
        if streams > 1:
            config["NUM_STREAMS"] = streams
        cache = trusted_cache(model_path, device, config)
        if cache is not None:
            config["CACHE_DIR"] = str(cache)
        try:
            self._compiled = _compile(core, str(model_path), device, config)
        except RuntimeError as error:
            raise EngineError(
                f"{model_path}: OpenVINO could not compile the model for {device}: "
                f"{_first_line(error)}; try --device CPU, or check the device's driver"
            ) from error
        if cache is not None:
            record_checksums(cache)
        self._shapes = {
            name: tuple(
                one.get_length() if one.is_static else -1 for one in port.get_partial_shape()
            )
            for port in (*self._compiled.inputs, *self._compiled.outputs)
            for name in port.names
        }
        self._device = device
        # A request serves one call at a time, so every thread has its own, made at its first call.
        self._requests = threading.local()

    @property
    def description(self) -> dict[str, Any]:
        """Engine, device and library version."""
        return {"engine": "openvino", "device": self._device, "version": ov.__version__}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Static shapes by tensor name; a dynamic dimension is -1."""
        return self._shapes

    def run(self, inputs: Arrays) -> Arrays:
        """Run the graph once; see :class:`runtime.engines.base.Engine`."""
        try:
            results = self._request().infer(inputs, share_inputs=True)
        except RuntimeError as error:
            raise EngineError(
                f"openvino: could not run on what it was given: {_first_line(error)}; run: "
                "lineside verify BUNDLE"
            ) from error
        arrays: Arrays = {}
        for port, value in results.items():
            # An output tensor is a view that the next inference overwrites.
            copied = np.array(value, copy=True)
            # A conversion may leave a second, internal name on the same output.
            arrays.update(dict.fromkeys(port.names, copied))
        return arrays

    def _request(self) -> ov.InferRequest:
        if self._compiled is None:
            raise EngineError(
                "openvino: expected an open engine, found a closed one; open the bundle again"
            )
        if getattr(self._requests, "own", None) is None:
            self._requests.own = self._compiled.create_infer_request()
        return self._requests.own

    def close(self) -> None:
        """Release the compiled model."""
        self._requests = threading.local()
        self._compiled = None


def available_devices() -> list[str]:
    """Devices that OpenVINO finds on this machine, e.g. ``["CPU", "GPU"]``."""
    return [str(name) for name in ov.Core().available_devices]


def _compile(core: ov.Core, path: str, device: str, config: dict[str, Any]) -> ov.CompiledModel:
    exact = device == "CPU" and config["INFERENCE_PRECISION_HINT"] == "f32"
    if exact and is_switched_on() and may_have_such(Path(path)):
        model = core.read_model(path)
        if with_fewer_products(model):
            return core.compile_model(model, device, config)
    # A model that stays as it is comes from its file, which the cache knows without looking at its
    # weights.
    return core.compile_model(path, device, config)


def _require_device(core: ov.Core, device: str) -> None:
    found = [str(name) for name in core.available_devices]
    wanted = device.split(":")[0]
    if (
        wanted in ("AUTO", "MULTI", "HETERO")
        or wanted in found
        or any(name.split(".")[0] == wanted for name in found)
    ):
        return
    raise EngineError(
        f"device {device}: expected one that this machine has, found {', '.join(found) or 'none'} "
        "(and AUTO); choose one of these with --device, or install the device's driver"
    )


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
