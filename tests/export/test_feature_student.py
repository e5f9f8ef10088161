"""The student that reads features: what it learns, and its graph beside anomalib's model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from export.models.efficientad import feature_student
from export.models.efficientad.feature_student import FeatureEfficientAdModel
from export.models.efficientad.graph import FeatureEfficientAdGraph
from export.models.efficientad.reading import MapReading
from export.models.efficientad.recipe import EfficientAdRecipe
from runtime.images.heatmap import upsample_map

pytestmark = pytest.mark.slow

RECIPE = EfficientAdRecipe(student="features", size_hw=(256, 256))


def filled(seed: int) -> FeatureEfficientAdModel:
    """A model whose description of patches, statistics and student are random."""
    torch.manual_seed(seed)
    model = FeatureEfficientAdModel(RECIPE).eval()
    state = model.teacher.projection.state_dict()
    model.teacher.projection.load_state_dict(
        {name: 0.1 * torch.randn_like(value) for name, value in state.items()}
    )
    channels = model.teacher_out_channels
    model.mean_std.update(
        {"mean": torch.randn(1, channels, 1, 1), "std": torch.full((1, channels, 1, 1), 1.7)}
    )
    zero = torch.tensor(0.0)
    model.quantiles.update(
        {"qa_st": torch.tensor(0.4), "qb_st": torch.tensor(1.3), "qa_ae": zero, "qb_ae": zero}
    )
    return model


@pytest.mark.parametrize("sigma", [0.0, 4.0])
def test_the_graph_equals_anomalibs_forward(sigma: float) -> None:
    model = filled(0)
    model.read_as(MapReading(1.0, sigma))
    graph = FeatureEfficientAdGraph(model, RECIPE.size_hw, (0.1, 0.5)).eval()
    image = np.random.default_rng(1).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    with torch.no_grad():
        expected = model(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255.0)
        score, anomaly_map, embedding = graph(torch.from_numpy(image)[None])
    grown = upsample_map(anomaly_map[0, 0].numpy(), (256, 256), sigma)
    torch.testing.assert_close(score, expected.pred_score.reshape(1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(grown, expected.anomaly_map[0, 0].numpy(), rtol=1e-3, atol=1e-4)
    # Nothing is cropped: a patch for every eight pixels, to the very edge.
    assert anomaly_map.shape == (1, 1, 32, 32)
    assert embedding.shape == (1, model.teacher_out_channels + 1)


def test_the_share_of_the_student_is_whole() -> None:
    model = filled(1)
    with torch.no_grad():
        student, autoencoder = model.get_maps(torch.rand(1, 3, 256, 256), normalize=True)
        model.read_as(MapReading(1.0, 0.0))
        read = model(
            torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
        ).anomaly_map
        again, _ = model.get_maps(
            torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0)), normalize=True
        )
    assert student.abs().max() > 0
    assert autoencoder.abs().max() == 0
    # anomalib halves both branches.
    torch.testing.assert_close(read, 0.5 * again)


def test_what_it_takes_off_grows_with_the_distance_from_good_patches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Good patches vary in eight directions of many; along the others they hardly do."""
    monkeypatch.setattr(feature_student, "BATCH", 512)
    torch.manual_seed(0)
    module = feature_student.FeatureEfficientAd(RECIPE)
    channels = module.model.teacher_out_channels
    directions, _ = torch.linalg.qr(torch.randn(channels, channels))
    good = torch.randn(4096, 8) @ directions[:8] + 0.02 * torch.randn(4096, channels)
    module._patches = good[:2048]
    optimizer = torch.optim.Adam(module.model.student.parameters(), lr=2e-3)
    for _ in range(80):
        optimizer.zero_grad()
        module.training_step(None)["loss"].backward()
        optimizer.step()

    def taken_off(patches: torch.Tensor) -> torch.Tensor:
        shaped = patches.T[None, :, :, None]
        with torch.no_grad():
            return (module.model.student(shaped) - shaped).square().sum(dim=1).flatten()

    away = torch.linspace(0.0, 4.0, 9)
    found = torch.stack([taken_off(good[2048:2304] + far * directions[40]).mean() for far in away])
    assert bool((found.diff() > 0).all())
    # A step in a direction that good patches have is nothing to take off.
    along = taken_off(good[2048:2304] + 1.0 * directions[0]).mean()
    assert found[-1] > 8.0
    assert along < 0.4 * found[2]
