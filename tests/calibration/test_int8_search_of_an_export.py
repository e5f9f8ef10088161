"""The search in INT8 inside a real export of the paper's recipe, re-weighting included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import torch

from calibration.int8.model import around_networks
from calibration.learning.ir import to_openvino
from export.backbones.extractors import make_extractor, normalization_of
from export.inference_graph import to_onnx
from export.models.patchcore.graph import PatchCoreGraph

pytestmark = pytest.mark.slow

BACKBONE = "tf_efficientnet_lite0"
LAYERS = ("blocks.2", "blocks.4")
SIDE = 64


def good_part(rng: np.random.Generator) -> np.ndarray:
    """A soft shading with a little grain, uint8 (SIDE, SIDE, 3)."""
    row, column = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    shade = 120 + 60 * np.sin(2 * row + rng.uniform(0, 6)) * np.cos(2 * column + rng.uniform(0, 6))
    return (shade[..., None] + rng.normal(0, 4, (SIDE, SIDE, 3))).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def graph() -> PatchCoreGraph:
    extractor = make_extractor(BACKBONE, LAYERS, None)
    normalization = normalization_of(BACKBONE)
    rng = np.random.default_rng(0)
    empty = PatchCoreGraph(
        extractor, LAYERS, torch.zeros(1, 152), normalization, 9, (1.0, 2.0)
    ).eval()
    with torch.no_grad():
        seen = [
            empty.features(torch.from_numpy(good_part(rng))[None])[0][0].flatten(1).T
            for _ in range(12)
        ]
    return PatchCoreGraph(extractor, LAYERS, torch.cat(seen), normalization, 9, (1.0, 2.0)).eval()


@pytest.fixture(scope="module")
def searched(graph: PatchCoreGraph, tmp_path_factory: pytest.TempPathFactory) -> ov.CompiledModel:
    folder: Path = tmp_path_factory.mktemp("export")
    to_onnx(graph, (SIDE, SIDE), folder / "model.onnx")
    to_openvino(folder / "model.onnx", folder / "model.xml")
    whole = around_networks(folder / "model.onnx", folder / "model.xml", None, [])
    ov.save_model(whole, folder / "int8.xml", compress_to_fp16=False)
    return ov.Core().compile_model(folder / "int8.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(4))
def test_a_bad_part_has_the_score_the_map_and_the_descriptor_of_the_plain_graph(
    graph, searched, seed
):
    rng = np.random.default_rng(100 + seed)
    part = good_part(rng)
    part[20:36, 24:40] = rng.integers(0, 256, (16, 16, 3))
    with torch.no_grad():
        score, anomaly_map, embedding = (one.numpy() for one in graph(torch.from_numpy(part)[None]))
    said = searched(part[None])
    np.testing.assert_allclose(said["pred_score"], score, rtol=1e-4)
    # The descriptor is of the ten most anomalous patches, and one or another of them may be the
    # eleventh.
    assert float((said["embedding"] * embedding).sum()) > 0.99
    worst = anomaly_map.ravel().argsort()[-3:]
    np.testing.assert_allclose(
        said["anomaly_map"].ravel()[worst], anomaly_map.ravel()[worst], rtol=1e-4
    )
    assert np.abs(said["anomaly_map"] / anomaly_map - 1).mean() < 0.1


@pytest.mark.nightly
def test_a_variant_gives_out_what_the_contract_says_and_no_more(searched):
    assert [next(iter(output.get_names())) for output in searched.outputs] == [
        "pred_score",
        "anomaly_map",
        "embedding",
    ]
