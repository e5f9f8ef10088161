"""A bundle that can be taught, of a toy network: made in seconds, taught in less."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import openvino as ov
import torch
from openvino import opset13
from torch import nn

from calibration.int8.variant import INT8
from calibration.learning.evidence import score_engine
from calibration.learning.ir import compiled, to_openvino
from export.backbones.extractors import Normalization
from export.inference_graph import to_onnx
from export.models.patchcore.graph import PatchCoreGraph
from export.models.patchcore.recipe import PatchCoreRecipe
from export.projection import Projection
from runtime.bundle.folder import MANIFEST_FILE, Bundle, seal
from runtime.bundle.golden import Compared, write_golden
from runtime.bundle.manifest import BLANK, InputSpec, Manifest, MapSpec, OutputSpec, Variant
from runtime.bundle.thresholds import THRESHOLDS_FILE, Threshold, Thresholds, write_thresholds
from runtime.engines.base import open_engine

# Good parts that a toy bundle is taught.
COUNT = 24
SIDE, LAYERS, WIDTH = 64, ("fine", "coarse"), 6
VARIANTS = (
    Variant("openvino", "fp32", "openvino/fp32/model.xml"),
    Variant("onnxruntime", "fp32", "onnx/fp32/model.onnx"),
)


class ToyExtractor(nn.Module):
    """Two layers of random convolutions: 16 x 16 places of 8 channels, 8 x 8 of 12."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fine = nn.Conv2d(3, 8, 4, 4)
        self.coarse = nn.Conv2d(8, 12, 2, 2)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        fine = self.fine(images).relu()
        return {"fine": fine, "coarse": self.coarse(fine).relu()}


def toy_graph(rows: int, share: float = 0.05, *, projected: bool = True) -> PatchCoreGraph:
    """An inference graph around a random bank."""
    generator = torch.Generator().manual_seed(1)
    projection = None
    if projected:
        weights = {
            name: torch.randn(WIDTH, channels, generator=generator)
            for name, channels in zip(LAYERS, (8, 12), strict=True)
        }
        projection = Projection(weights, torch.randn(WIDTH, generator=generator))
    bank = torch.randn(rows, WIDTH if projected else 20, generator=generator)
    normalization = Normalization((0.5,) * 3, (0.5,) * 3)
    return PatchCoreGraph(
        ToyExtractor(), LAYERS, bank, normalization, 3, (1.0, 2.7), projection, share, 0.5
    ).eval()


def toy_recipe(share: float = 0.05, *, projected: bool = True) -> dict[str, object]:
    """The settings that go with it."""
    recipe = PatchCoreRecipe(
        size_hw=(SIDE, SIDE),
        layers=LAYERS,
        dimensions=WIDTH if projected else 0,
        score_share=share,
        score_blur=0.5,
        num_neighbors=3,
        max_prototypes=700,
        coreset_ratio=0.2,
    )
    return recipe.to_json()


def write_toy_bundle(root: Path, share: float = 0.05, *, projected: bool = True) -> Path:
    """A whole bundle of it, which says of its golden pictures what it says."""
    onnx, openvino = root / VARIANTS[1].path, root / VARIANTS[0].path
    for path in (onnx, openvino):
        path.parent.mkdir(parents=True)
    to_onnx(toy_graph(60, share, projected=projected), (SIDE, SIDE), onnx)
    to_openvino(onnx, openvino)
    images = list(pictures(4, seed=9))
    engine = open_engine("openvino", openvino)
    found = score_engine(engine, images, "golden")
    engine.close()
    highest, middle = float(found.scores.max()), float(np.median(found.scores))
    said = Compared(found.scores, found.maps, highest)
    write_golden(root, images, said, float(np.ptp(found.scores)))
    threshold = Threshold(highest, highest, middle, "manual", 0)
    write_thresholds(root / THRESHOLDS_FILE, Thresholds({one.key: threshold for one in VARIANTS}))
    width = (WIDTH if projected else 20) + 1
    manifest = Manifest(
        "toy-patchcore",
        "patchcore",
        "toy",
        InputSpec(SIDE, SIDE),
        OutputSpec(SIDE // 4, SIDE // 4, width),
        MapSpec(4.0),
        VARIANTS,
        {},
        recipe=toy_recipe(share, projected=projected),
    )
    seal(root, manifest)
    return root


def blanked(base: Path, target: Path) -> Path:
    """A copy with nothing learned."""
    shutil.copytree(base, target)
    with Bundle.open(base) as bundle:
        manifest = bundle.manifest
    (target / MANIFEST_FILE).unlink()
    write_thresholds(target / THRESHOLDS_FILE, Thresholds({}))
    seal(target, replace(manifest, recipe={**manifest.recipe, BLANK: True}))
    return target


def add_rounded(base: Path, target: Path, reach: float = 1.0) -> Path:
    """A copy with an INT8 variant, as quantization leaves it: activations rounded to a grid.

    Args:
        base: bundle of a toy.
        target: of the copy.
        reach: of the grid, as a share of what the toy's own pictures need.
    """
    shutil.copytree(base, target)
    model = ov.Core().read_model(target / VARIANTS[0].path)
    layers = [node for node in model.get_ordered_ops() if node.get_type_name() == "Relu"]
    results = [opset13.result(node.output(0)) for node in layers]
    found = compiled(ov.Model(results, model.get_parameters(), "layers"))(pictures(1)[:1])
    for place, node in enumerate(layers):
        ends = np.float32(0.0), np.float32(reach * found[place].max())
        readers = node.output(0).get_target_inputs()
        rounded = opset13.fake_quantize(node, *ends, *ends, 256)
        for reader in readers:
            if reader.get_node().get_type_name() != "Result":
                reader.replace_source_output(rounded.output(0))
    (target / INT8.path).parent.mkdir()
    ov.save_model(model, target / INT8.path, compress_to_fp16=False)
    with Bundle.open(base) as bundle:
        manifest, threshold = bundle.manifest, bundle.thresholds().of(VARIANTS[0].key)
    thresholds = {one.key: threshold for one in (*VARIANTS, INT8)}
    write_thresholds(target / THRESHOLDS_FILE, Thresholds(thresholds))
    (target / MANIFEST_FILE).unlink()
    seal(target, replace(manifest, variants=(*VARIANTS, INT8)))
    return target


def pictures(count: int, seed: int = 0) -> np.ndarray:
    """Good parts: stripes at an angle, with a little noise, uint8 (n, SIDE, SIDE, 3)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    shifts = rng.uniform(0, 6.0, (count, 1, 1))
    waves = 128 + 60 * np.sin((x + 0.5 * y) / 3.0 + shifts)
    noisy = waves[..., None] + rng.normal(0, 6.0, (count, SIDE, SIDE, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def write_pictures(folder: Path, images: Sequence[np.ndarray] | np.ndarray) -> Path:
    """PNG files of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(images):
        cv2.imwrite(str(folder / f"{index:03}.png"), image)
    return folder
