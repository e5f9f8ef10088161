"""PatchCore in NumPy against anomalib's torch model; stacking against torch's resizing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from calibration.learning.components import stacked
from calibration.learning.patch_scores import PatchScorer, smoothed
from export.inference_graph import SeparableGaussian
from export.models.patchcore.model import ProjectedPatchcoreModel

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("share", "blur"), [(0.05, 1.0), (0.01, 0.0), (1.0, 0.5), (0.0, 0.0)])
@pytest.mark.parametrize("neighbors", [1, 9])
def test_the_score_is_that_of_the_torch_model(share: float, blur: float, neighbors: int):
    rng = np.random.default_rng(3)
    patches, bank = (rng.normal(size=(n, 12)).astype(np.float32) + 4.0 for n in (240, 90))
    model = ProjectedPatchcoreModel(
        score_share=share,
        score_blur=blur,
        layers=("blocks.2",),
        backbone="tf_efficientnet_lite0",
        pre_trained=False,
        num_neighbors=neighbors,
    )
    model.memory_bank, model.grid_hw = torch.from_numpy(bank), (15, 16)
    expected, expected_map = model.eval().score(torch.from_numpy(patches))
    found, found_map = PatchScorer(share, blur, neighbors).score(patches, bank, (15, 16))
    assert found == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(found_map, expected_map, rtol=1e-4)


@pytest.mark.parametrize("sigma", [0.0, 0.5, 1.0, 2.5])
def test_the_blur_is_that_of_the_graph(sigma: float):
    found = np.random.default_rng(0).uniform(size=(24, 31)).astype(np.float32)
    expected = SeparableGaussian(sigma)(torch.from_numpy(found)[None, None])[0, 0].numpy()
    np.testing.assert_allclose(smoothed(found, sigma), expected, atol=1e-6)


@pytest.mark.parametrize("size", [(4, 4), (3, 7), (8, 8), (5, 1), (16, 12)])
def test_layers_are_stacked_as_torch_resizes_them(size: tuple[int, int]):
    rng = np.random.default_rng(1)
    fine = rng.normal(size=(2, 8, 12)).astype(np.float32)
    coarse = rng.normal(size=(3, *size)).astype(np.float32)
    grown = F.interpolate(torch.from_numpy(coarse)[None], size=(8, 12), mode="bilinear")[0]
    expected = np.concatenate([fine, grown.numpy()]).reshape(5, -1).T
    np.testing.assert_allclose(stacked([fine, coarse]), expected, atol=1e-6)
