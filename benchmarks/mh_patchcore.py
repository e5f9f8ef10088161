"""anomalib's MH-PatchCore, the nearest relative of our PatchCore, as a peer of the accuracy table.

Ferrari, Osmani and Lamma, "Mahalanobis PatchCore", arXiv 2605.27748: principal components, shrunk
covariance whitening, a bounded bank, anomalib's re-weighted maximum. It gets our backbone, pictures
and preprocessing, so that the method alone differs.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from anomalib.models import MHPatchcore
from anomalib.pre_processing import PreProcessor
from torchvision.transforms.v2 import Compose, Normalize

from calibration.learning.photographs import read_photographs
from calibration.metrics import image_auroc
from calibration.pixel_metrics import STRICT_FPR_LIMIT, PixelScores
from export.anomalib_engine import GoodPartsModule, fit_with_engine, to_batch
from export.backbones.extractors import make_extractor, normalization_of
from export.backbones.layers import DEFAULT_BACKBONE, default_layers
from runtime.images.dataset import load_category, load_mask
from runtime.images.preprocess import load_image
from runtime.progress import task, track

SIZE_HW = (256, 256)
# One pass each for components, covariance and bank.
PASSES = 3


def fit_mh_patchcore(data: Path, category: str, seed: int, bank: int) -> tuple[MHPatchcore, float]:
    """The fitted model in eval mode, and the seconds that it took.

    Args:
        data: MVTec-style root.
        category: below it.
        seed: of the order of the pictures.
        bank: upper bound on its rows.
    """
    layers, mean_std = default_layers(DEFAULT_BACKBONE), normalization_of(DEFAULT_BACKBONE)
    model = MHPatchcore(
        backbone=DEFAULT_BACKBONE,
        layers=layers,
        pre_trained=False,
        memory_bank_size=bank,
        pre_processor=PreProcessor(Compose([Normalize(list(mean_std.mean), list(mean_std.std))])),
        post_processor=False,
        evaluator=False,
        visualizer=False,
    )
    model.model.feature_extractor = make_extractor(DEFAULT_BACKBONE, layers, None, SIZE_HW)
    photographs = read_photographs(load_category(data, category), SIZE_HW, seed, hold_out=False)
    parts = GoodPartsModule(photographs, SIZE_HW, batch_size=4, seed=seed)
    start = time.perf_counter()
    steps = len(parts.train_dataloader())
    with (
        tempfile.TemporaryDirectory(prefix="lineside-accuracy-") as folder,
        task("mh-patchcore: a pass", steps) as advance,
    ):
        fit_with_engine(model, parts, Path(folder), advance, max_epochs=PASSES)
    return model.cpu().eval(), time.perf_counter() - start


def measure_mh_patchcore(data: Path, category: str, seed: int, bank: int) -> dict[str, Any]:
    """A row of figures, as of any recipe (:mod:`benchmarks.accuracy`)."""
    model, seconds = fit_mh_patchcore(data, category, seed, bank)
    labels, scores, pixels = [], [], PixelScores()
    for part in track(load_category(data, category).test, "evaluating mh-patchcore"):
        with torch.no_grad():
            found = model(to_batch(load_image(part.path, SIZE_HW)))
        labels.append(part.is_anomalous)
        scores.append(float(found.pred_score))
        mask = load_mask(part, SIZE_HW)
        if mask.any() or not part.is_anomalous:
            pixels.add(found.anomaly_map.squeeze().numpy().astype(np.float32), mask)
    has_masks = pixels.regions > 0
    return {
        "seed": seed,
        "seconds": seconds,
        "image_auroc": image_auroc(labels, scores),
        "pixel_auroc": pixels.auroc() if has_masks else None,
        "aupro": pixels.aupro() if has_masks else None,
        "aupro_05": pixels.aupro(STRICT_FPR_LIMIT) if has_masks else None,
    }
