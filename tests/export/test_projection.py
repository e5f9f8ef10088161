"""The projection against principal components by scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch.nn.functional import interpolate

from export.projection import Projection, fit_projection, stack

pytestmark = pytest.mark.slow

LAYERS = ("fine", "coarse")


@pytest.fixture(scope="module")
def pooled() -> dict[str, torch.Tensor]:
    """Two layers, the coarse one a hundred times stronger, with a mean far from zero."""
    generator = torch.Generator().manual_seed(0)

    def maps(channels: int, side: int, strength: float) -> torch.Tensor:
        mixing = torch.randn(channels, channels, generator=generator)
        found = torch.randn(20, channels, side, side, generator=generator)
        return strength * (torch.einsum("cd,ndhw->nchw", mixing, found) + 3.0)

    return {"fine": maps(6, 8, 1.0), "coarse": maps(10, 4, 100.0)}


def stacked_by_hand(pooled: dict[str, torch.Tensor]) -> np.ndarray:
    """Patches (N, 16), each layer scaled to a total variance of one, float64."""
    grown = interpolate(pooled["coarse"], size=(8, 8), mode="bilinear")
    layers = [
        maps.permute(0, 2, 3, 1).flatten(0, 2).double().numpy() for maps in (pooled["fine"], grown)
    ]
    return np.concatenate([layer / np.sqrt(layer.var(axis=0).sum()) for layer in layers], axis=1)


def projected(projection: Projection, pooled: dict[str, torch.Tensor]) -> np.ndarray:
    return projection(pooled).permute(0, 2, 3, 1).flatten(0, 2).numpy()


@pytest.mark.parametrize("dimensions", [1, 5, 16])
@pytest.mark.parametrize("whitening", [0.0, 0.5, 1.0])
def test_it_is_the_principal_components_of_the_scaled_layers(pooled, dimensions, whitening):
    found = projected(fit_projection(pooled, LAYERS, dimensions, whitening), pooled)
    pca = PCA(dimensions, svd_solver="full")
    expected = pca.fit_transform(stacked_by_hand(pooled))
    expected /= expected.std(axis=0) ** whitening
    # A component's sign is free.
    signs = np.sign((found * expected).sum(axis=0))
    np.testing.assert_allclose(found * signs, expected, atol=2e-4)


def test_without_reduction_and_whitening_distances_are_those_of_the_scaled_layers(pooled):
    found = projected(fit_projection(pooled, LAYERS, 99, 0.0), pooled)[::97]
    expected = stacked_by_hand(pooled)[::97]
    np.testing.assert_allclose(
        np.linalg.norm(found[:, None] - found[None], axis=2),
        np.linalg.norm(expected[:, None] - expected[None], axis=2),
        atol=1e-4,
    )


def test_full_whitening_is_the_mahalanobis_distance(pooled):
    found = projected(fit_projection(pooled, LAYERS, 16, 1.0), pooled).astype(np.float64)
    patches = stacked_by_hand(pooled)
    difference = patches[5] - patches[700]
    inverse = np.linalg.inv(np.cov(patches.T, bias=True))
    assert np.linalg.norm(found[5] - found[700]) == pytest.approx(
        np.sqrt(difference @ inverse @ difference), rel=1e-3
    )


def test_features_without_any_spread_stay_finite():
    flat = {"fine": torch.full((2, 6, 8, 8), 4.0), "coarse": torch.zeros(2, 10, 4, 4)}
    found = fit_projection(flat, LAYERS, 12, 1.0)(flat)
    assert bool(torch.isfinite(found).all())
    assert float(found.abs().max()) < 1e-3


def test_stacking_is_anomalibs(pooled):
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel

    model = PatchcoreModel(layers=["layer1"], backbone="resnet18", pre_trained=False)
    model.layers = LAYERS
    torch.testing.assert_close(stack(pooled, LAYERS), model.generate_embedding(pooled))
