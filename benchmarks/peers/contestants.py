"""Every contestant as two callables: on a decoded picture, and from the file on disk."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.peers.cases import Checkpoint
from benchmarks.peers.model_api import model_api
from calibration.int8.graph import feature_model
from calibration.int8.model import around_networks
from calibration.int8.networks import quantized_networks, shallowest_first
from calibration.int8.variant import SEARCH_ALONE
from calibration.learning.ir import to_openvino
from export.anomalib_engine import to_batch
from export.inference_graph import to_onnx
from export.models import family_of
from runtime.bundle.manifest import EngineName
from runtime.engines.base import open_engine
from runtime.engines.quiet import ov
from runtime.images.preprocess import load_image
from runtime.types import UInt8Image

BASELINE = "anomalib OpenVINOInferencer f32"
ENGINE_NAMES: dict[EngineName, str] = {"openvino": "OpenVINO", "onnxruntime": "ONNX Runtime"}
Models = dict[EngineName, Path]


@dataclass(frozen=True)
class Contestant:
    """One way to a score.

    Attributes:
        on_image: takes uint8 (H, W, 3) RGB at the model's size.
        on_file: takes the path of a picture of any size.
    """

    on_image: Callable[[UInt8Image], Any]
    on_file: Callable[[Path], Any]


def export_fp32(checkpoint: Checkpoint, folder: Path) -> Models:
    """Lineside's graph in fp32 for both engines."""
    folder.mkdir(parents=True, exist_ok=True)
    family = family_of(checkpoint.recipe.model)
    graph = family.graph(checkpoint.recipe, checkpoint.model, (0.0, 1.0)).eval()
    models: Models = {"onnxruntime": folder / "model.onnx", "openvino": folder / "model.xml"}
    to_onnx(graph, checkpoint.recipe.size_hw, models["onnxruntime"])
    to_openvino(models["onnxruntime"], models["openvino"])
    return models


def export_int8(checkpoint: Checkpoint, folder: Path) -> Models:
    """Networks and search in INT8, as ``lineside calibrate --int8`` tries them first."""
    onnx = export_fp32(checkpoint, folder)["onnxruntime"]
    attempt = family_of(checkpoint.recipe.model).int8_attempts[0]
    layers = shallowest_first(feature_model(onnx))
    networks = quantized_networks(onnx, checkpoint.good, layers[: round(attempt * len(layers))])
    return _around(networks, checkpoint, folder)


def export_int8_search(checkpoint: Checkpoint, folder: Path) -> Models:
    """A bank's search alone in INT8, as with ``--int8-search``; nothing without a bank."""
    if SEARCH_ALONE not in family_of(checkpoint.recipe.model).int8_attempts:
        return {}
    export_fp32(checkpoint, folder)
    return _around(None, checkpoint, folder)


def _around(networks: ov.Model | None, checkpoint: Checkpoint, folder: Path) -> Models:
    whole = around_networks(folder / "model.onnx", folder / "model.xml", networks, checkpoint.good)
    path = folder / "int8.xml"
    ov.save_model(whole, str(path), compress_to_fp16=False)
    return {"openvino": path}


# A precision is one line here: from a checkpoint to a model file for each engine that runs it.
PRECISIONS: dict[str, Callable[[Checkpoint, Path], Models]] = {
    "fp32": export_fp32,
    "int8 search": export_int8_search,
    "int8": export_int8,
}


def lineside(
    checkpoint: Checkpoint, folder: Path, precisions: Sequence[str]
) -> dict[str, Contestant]:
    """Lineside on each engine in each precision."""
    size_hw = checkpoint.recipe.size_hw
    found = {}
    for precision in precisions:
        for engine_name, path in PRECISIONS[precision](checkpoint, folder / precision).items():
            found[f"Lineside {ENGINE_NAMES[engine_name]} {precision}"] = _lineside(
                engine_name, path, size_hw
            )
    return found


def _lineside(engine_name: EngineName, path: Path, size_hw: tuple[int, int]) -> Contestant:
    engine = open_engine(engine_name, path)
    return Contestant(
        lambda image: engine.run({"image": image[None]}),
        lambda file: engine.run({"image": load_image(file, size_hw)[None]}),
    )


def peers(checkpoint: Checkpoint, folder: Path) -> dict[str, Contestant]:
    """Anomalib's inferencer in two precisions, its torch model, ONNX Runtime, and Model API.

    anomalib's inferencer takes a PIL picture of the size that was exported, so a user resizes
    first; a box filter is the area averaging that Lineside uses, and the quickest that Pillow has.
    """
    import onnxruntime as ort
    from anomalib.deploy import OpenVINOInferencer

    model, size_hw = checkpoint.model, checkpoint.recipe.size_hw
    options = {"dynamic_shapes": None}
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        model.to_onnx(folder / "peer", input_size=size_hw, **options)
        model.to_openvino(folder / "peer", input_size=size_hw, onnx_kwargs=options)
    xml, onnx_file = next((folder / "peer").rglob("*.xml")), next((folder / "peer").rglob("*.onnx"))
    exact = OpenVINOInferencer(xml, device="CPU", config={"INFERENCE_PRECISION_HINT": "f32"})
    default = OpenVINOInferencer(xml, device="CPU")
    session = ort.InferenceSession(str(onnx_file), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def read(file: Path) -> Image.Image:
        return (
            Image.open(file).convert("RGB").resize((size_hw[1], size_hw[0]), Image.Resampling.BOX)
        )

    def torch_predict(image: UInt8Image) -> Any:
        with torch.no_grad():
            return model(to_batch(image))

    def ort_predict(image: UInt8Image) -> Any:
        return session.run(["pred_score"], {name: to_batch(image).numpy()})

    found = {
        BASELINE: Contestant(
            lambda image: exact.predict(_scaled(image)), lambda file: exact.predict(read(file))
        ),
        "anomalib OpenVINOInferencer default": Contestant(
            lambda image: default.predict(_scaled(image)), lambda file: default.predict(read(file))
        ),
        "anomalib torch": Contestant(
            torch_predict, lambda file: torch_predict(np.array(read(file)))
        ),
        "ONNX Runtime on anomalib's export": Contestant(
            ort_predict, lambda file: ort_predict(np.array(read(file)))
        ),
    }
    if (predict := model_api(xml)) is not None:
        found["OpenVINO Model API"] = Contestant(
            predict, lambda file: predict(np.array(read(file)))
        )
    return found


def score_of(result: Any) -> float:
    """The raw score in whatever a contestant returns."""
    value = (
        result["pred_score"] if isinstance(result, dict) else getattr(result, "pred_score", result)
    )
    return float(np.asarray(value[0] if isinstance(value, list) else value).reshape(-1)[0])


def _scaled(image: UInt8Image) -> np.ndarray[Any, np.dtype[np.float32]]:
    return image.astype(np.float32) / 255.0
