"""Lineside beside anomalib's own OpenVINOInferencer, its torch model and plain ONNX Runtime, on one checkpoint.

    python -m benchmarks.peers                          all cases (some minutes)
    python -m benchmarks.peers --case lite0-2048 --rounds 30 --json

Every contestant gets the same decoded 256-pixel picture and answers with a score; the scores are compared first. On
processors with AMX OpenVINO runs fp32 graphs in bf16 unless told otherwise; anomalib's inferencer is timed both ways.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from benchmarks.interleaved import time_interleaved
from runtime.progress import say

SIZE_HW = (256, 256)


@dataclass(frozen=True)
class Case:
    """One checkpoint to time.

    Attributes:
        model: patchcore or efficientad.
        backbone: timm name; the packaged weights for lite0, random ones for others (time does not depend on them).
        bank: rows of the memory bank (PatchCore).
        teacher: EfficientAD's teacher.
    """

    model: str
    backbone: str = "tf_efficientnet_lite0"
    bank: int = 0
    teacher: str = "backbone"


CASES = {
    "lite0-2048": Case("patchcore", bank=2048),
    "lite0-20480": Case("patchcore", bank=20480),
    "wrn50-2355": Case("patchcore", "wide_resnet50_2", 2355),
    "wrn50-23552": Case("patchcore", "wide_resnet50_2", 23552),
    "efficientad-pdn": Case("efficientad", teacher="pdn"),
    "efficientad-backbone": Case("efficientad", teacher="backbone"),
}
BASELINE = "anomalib OpenVINOInferencer f32"


@click.command()
@click.option(
    "--case", "names", multiple=True, type=click.Choice(list(CASES)), help="Only this case; repeatable."
)
@click.option("--rounds", default=15, show_default=True, help="Turns of each contestant.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a case on stdout.")
def main(names: tuple[str, ...], rounds: int, as_json: bool) -> None:
    """Time Lineside beside its peers, in turn, in one process."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    for name in names or CASES:
        with tempfile.TemporaryDirectory() as folder, _inside(Path(folder)):
            os.environ["LINESIDE_CACHE_DIR"] = folder
            say(f"{name}: building")
            result = run_case(CASES[name], Path(folder), rounds)
        if as_json:
            click.echo(json.dumps({"case": name, **asdict(CASES[name]), **result}))
        else:
            print_table(name, result)


def run_case(case: Case, folder: Path, rounds: int) -> dict[str, Any]:
    """Build, compare scores, time."""
    torch.manual_seed(0)
    image = pictures(1)[0]
    model, graph = build(case)
    contestants, scores = prepare(model, graph, image, folder)
    reference = scores["anomalib torch"]
    timings = time_interleaved(contestants, rounds)
    base = timings[BASELINE].p50_ms
    return {
        "threads": torch.get_num_threads(),
        "contestants": {
            name: {
                **{key: round(value, 2) for key, value in asdict(timing).items()},
                "times_faster": round(base / timing.p50_ms, 2),
                "score_difference": abs(scores[name] - reference) / max(abs(reference), 1e-9),
            }
            for name, timing in timings.items()
        },
    }


def pictures(count: int) -> list[np.ndarray]:
    """Procedural parts at the model's size, uint8 (H, W, 3)."""
    from export.sample_data import render_part

    rng = np.random.default_rng(0)
    return [render_part("tile", None, rng, SIZE_HW[0])[0] for _ in range(count)]


def build(case: Case) -> tuple[Any, torch.nn.Module]:
    """An anomalib model with real features in its bank (or an untrained student: time does not depend on weights)."""
    return _build_patchcore(case) if case.model == "patchcore" else _build_efficientad(case)


def _build_patchcore(case: Case) -> tuple[Any, torch.nn.Module]:
    from export.bundling import build_graph
    from export.patchcore import LinesidePatchcore
    from export.recipe import PatchCoreRecipe

    with _random_weights(case.backbone) as weights:
        recipe = PatchCoreRecipe(backbone=case.backbone, backbone_weights=weights)
        model = LinesidePatchcore(recipe, 0)
    model.train()
    per_image = None
    with torch.no_grad():
        while not per_image or len(model.model.embedding_store) * per_image < case.bank:
            batch = model.pre_processor(_to_tensor(pictures(1)[0]) + 0.02 * torch.randn(1, 3, *SIZE_HW))
            per_image = len(model.model(batch))
    patches = torch.vstack(model.model.embedding_store)
    model.model.embedding_store.clear()
    model.model.memory_bank = patches[torch.randperm(len(patches))[: case.bank]]
    model.eval()
    return model, build_graph(recipe, model, good_scores=(0.0, 1.0))


def _build_efficientad(case: Case) -> tuple[Any, torch.nn.Module]:
    from export.bundling import build_graph
    from export.efficientad import LinesideEfficientAd
    from export.recipe import EfficientAdRecipe

    recipe = EfficientAdRecipe(teacher="pdn" if case.teacher == "pdn" else "backbone")
    model = LinesideEfficientAd(recipe, None).eval()
    channels = model.model.teacher_out_channels
    model.model.mean_std.update(
        {"mean": torch.zeros(1, channels, 1, 1), "std": torch.ones(1, channels, 1, 1)}
    )
    model.model.quantiles.update(
        {
            "qa_st": torch.tensor(0.1),
            "qb_st": torch.tensor(0.4),
            "qa_ae": torch.tensor(0.1),
            "qb_ae": torch.tensor(0.4),
        }
    )
    return model, build_graph(recipe, model, good_scores=(0.0, 1.0))


def prepare(
    model: Any, graph: torch.nn.Module, image: np.ndarray, folder: Path
) -> tuple[dict[str, Callable[[], object]], dict[str, float]]:
    """Every contestant as a callable, and the score that it gives for the picture."""
    import onnxruntime as ort
    from anomalib.deploy import OpenVINOInferencer

    from export.convert import to_onnx, to_openvino
    from runtime.engines import open_engine

    onnx_kwargs = {"dynamic_shapes": None}
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        model.to_onnx(folder / "peer", input_size=SIZE_HW, **onnx_kwargs)
        model.to_openvino(folder / "peer", input_size=SIZE_HW, onnx_kwargs=onnx_kwargs)
    xml, onnx_file = next((folder / "peer").rglob("*.xml")), next((folder / "peer").rglob("*.onnx"))
    default = OpenVINOInferencer(xml, device="CPU")
    exact = OpenVINOInferencer(xml, device="CPU", config={"INFERENCE_PRECISION_HINT": "f32"})
    session = ort.InferenceSession(str(onnx_file), providers=["CPUExecutionProvider"])
    to_onnx(graph, SIZE_HW, folder / "ours.onnx")
    to_openvino(folder / "ours.onnx", folder / "ours.xml")
    ours_ov, ours_ort = (
        open_engine("openvino", folder / "ours.xml"),
        open_engine("onnxruntime", folder / "ours.onnx"),
    )

    scaled = image.astype(np.float32) / 255.0
    tensor = _to_tensor(image)
    batch = tensor.numpy()
    ours = {"image": image[None]}
    name = session.get_inputs()[0].name

    def torch_predict() -> Any:
        with torch.no_grad():
            return model(tensor)

    contestants: dict[str, Callable[[], Any]] = {
        BASELINE: lambda: exact.predict(scaled),
        "anomalib OpenVINOInferencer default": lambda: default.predict(scaled),
        "anomalib torch": torch_predict,
        "ONNX Runtime on anomalib's export": lambda: session.run(["pred_score"], {name: batch}),
        "Lineside OpenVINO fp32": lambda: ours_ov.run(ours),
        "Lineside ONNX Runtime fp32": lambda: ours_ort.run(ours),
    }
    return contestants, {name: _score(call()) for name, call in contestants.items()}


def _score(result: Any) -> float:
    value = result["pred_score"] if isinstance(result, dict) else getattr(result, "pred_score", result)
    return float(np.asarray(value[0] if isinstance(value, list) else value).reshape(-1)[0])


def _to_tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255.0


@contextlib.contextmanager
def _random_weights(backbone: str) -> Iterator[Path | None]:
    """A state dict of random weights for backbones whose real ones would need a download."""
    if backbone == "tf_efficientnet_lite0":
        yield None
        return
    import timm

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.pth"
        torch.save(timm.create_model(backbone, pretrained=False).state_dict(), path)
        yield path


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """The peer writes its cache into the working directory."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def print_table(name: str, result: dict[str, Any]) -> None:
    """One case for people."""
    click.echo(f"\n{name} ({result['threads']} threads), ratios to {BASELINE}")
    for contestant, row in result["contestants"].items():
        click.echo(
            f"  {contestant:<38} {row['p50_ms']:8.2f} ms  [{row['p10_ms']:.2f}, {row['p90_ms']:.2f}]  "
            f"{row['times_faster']:6.2f}x  score difference {row['score_difference']:.1e}"
        )


if __name__ == "__main__":
    main()
