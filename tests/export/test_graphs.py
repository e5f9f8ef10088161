"""The fused graphs against anomalib's own models, on features where ties and tiny banks occur."""

import cv2
import numpy as np
import pytest
import torch
from anomalib.models.components import GaussianBlur2d
from anomalib.models.image.patchcore.torch_model import PatchcoreModel
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from export.backbones.extractors import Normalization, make_extractor, normalization_of
from export.inference_graph import SeparableGaussian, defect_descriptor, good_scores_buffer
from export.models.efficientad.graph import EfficientAdGraph
from export.models.efficientad.model import SmoothedEfficientAdModel
from export.models.efficientad.reading import MapReading
from export.models.patchcore.graph import PatchCoreGraph, first_smallest
from export.models.patchcore.model import ProjectedPatchcoreModel
from export.projection import fit_projection
from runtime.images.heatmap import upsample_map

pytestmark = pytest.mark.slow

LAYERS = ("blocks.2", "blocks.4")
SIZE = 64
# Raw score of a typical good part, and the bound that few exceed.
GOOD_SCORES = (10.0, 14.0)


@pytest.fixture(scope="module")
def extractor():
    return make_extractor("tf_efficientnet_lite0", LAYERS, None)


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    smooth = np.linspace(0, 255, SIZE, dtype=np.uint8)[:, None, None].repeat(SIZE, 1).repeat(3, 2)
    return [smooth, *(rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8) for _ in range(5))]


def to_batch(image: np.ndarray, normalization: Normalization | None) -> torch.Tensor:
    batch = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    if normalization is None:
        return batch
    return (batch - torch.tensor(normalization.mean).view(1, 3, 1, 1)) / torch.tensor(
        normalization.std
    ).view(1, 3, 1, 1)


@pytest.mark.parametrize("bank_rows", [1, 5, 100, 1500])
@pytest.mark.parametrize("neighbors", [1, 9])
def test_patchcore_graph_equals_anomalib(extractor, images, bank_rows, neighbors):
    normalization = normalization_of("tf_efficientnet_lite0")
    model = PatchcoreModel(
        layers=LAYERS, backbone="tf_efficientnet_lite0", pre_trained=False, num_neighbors=neighbors
    )
    model.feature_extractor = extractor
    generator = torch.Generator().manual_seed(bank_rows)
    model.memory_bank = torch.randn(bank_rows, 152, generator=generator)
    model.eval()
    kept = []
    model.anomaly_map_generator.register_forward_pre_hook(lambda _m, args: kept.append(args[0]))
    graph = PatchCoreGraph(
        extractor, LAYERS, model.memory_bank, normalization, neighbors, GOOD_SCORES, chunk_rows=64
    ).eval()
    for image in images:
        with torch.no_grad():
            expected = model(to_batch(image, normalization))
            score, anomaly_map, embedding = graph(torch.from_numpy(image)[None])
        torch.testing.assert_close(score, expected.pred_score.reshape(1), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(anomaly_map, kept[-1], rtol=1e-4, atol=1e-3)
        assert embedding.shape == (1, 153)
        assert float(embedding.norm()) == pytest.approx(1.0, abs=1e-5)


@given(
    rows=arrays(
        np.float32,
        st.tuples(st.integers(1, 6), st.integers(1, 40)),
        elements=st.sampled_from([-2.5, -1.0, 0.0, 1.0, 3e8]),
    )
)
def test_the_first_of_the_smallest_is_found_without_a_sort(rows):
    positions = torch.arange(rows.shape[1], dtype=torch.float32)
    found = first_smallest(torch.from_numpy(rows), positions)
    assert found.dtype == torch.int64
    np.testing.assert_array_equal(found.numpy(), rows.argmin(axis=1))


def test_a_row_of_nan_still_points_into_the_bank():
    row = torch.full((1, 5), float("nan"))
    assert first_smallest(row, torch.arange(5.0)).tolist() == [0]


def projected_model(
    extractor, images, score_share: float, score_blur: float = 0.0, whitening: float = 0.5
) -> ProjectedPatchcoreModel:
    """A model with a real projection of 20 dimensions and a bank of its own patches."""
    normalization = normalization_of("tf_efficientnet_lite0")
    model = ProjectedPatchcoreModel(
        score_share=score_share,
        score_blur=score_blur,
        layers=LAYERS,
        backbone="tf_efficientnet_lite0",
        pre_trained=False,
    )
    model.feature_extractor = extractor
    pooled = model.pooled(torch.cat([to_batch(image, normalization) for image in images]))
    model.projection = fit_projection(pooled, LAYERS, 20, whitening)
    model.memory_bank = model.reshape_embedding(model.generate_embedding(pooled))[::3].contiguous()
    return model.eval()


@pytest.mark.parametrize(
    ("share", "blur"), [(0.0, 0.0), (0.01, 0.0), (0.01, 1.0), (0.05, 0.5), (1.0, 1.5)]
)
def test_projected_patchcore_graph_equals_the_reference_model(extractor, images, share, blur):
    normalization = normalization_of("tf_efficientnet_lite0")
    model = projected_model(extractor, images[:3], share, blur)
    kept = []
    model.anomaly_map_generator.register_forward_pre_hook(lambda _m, args: kept.append(args[0]))
    graph = PatchCoreGraph(
        extractor,
        LAYERS,
        model.memory_bank,
        normalization,
        9,
        GOOD_SCORES,
        model.projection,
        share,
        blur,
        chunk_rows=16,
    ).eval()
    for image in images[3:]:
        with torch.no_grad():
            expected = model(to_batch(image, normalization)).pred_score
            score, anomaly_map, embedding = graph(torch.from_numpy(image)[None])
        torch.testing.assert_close(score, expected.reshape(1), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(anomaly_map, kept[-1], rtol=1e-4, atol=1e-3)
        assert embedding.shape == (1, 21)


@pytest.mark.parametrize("blur", [0.0, 1.0])
@pytest.mark.parametrize(("share", "patches"), [(0.001, 1), (0.05, 3), (0.5, 32), (1.0, 64)])
def test_the_score_is_the_mean_of_the_most_anomalous_patches(
    extractor, images, share, patches, blur
):
    normalization = normalization_of("tf_efficientnet_lite0")
    model = projected_model(extractor, images[:3], share, blur)
    graph = PatchCoreGraph(
        extractor,
        LAYERS,
        model.memory_bank,
        normalization,
        9,
        GOOD_SCORES,
        model.projection,
        share,
        blur,
    ).eval()
    with torch.no_grad():
        score, anomaly_map, _ = graph(torch.from_numpy(images[4])[None])
    smooth = anomaly_map.numpy()[0, 0]
    if blur:
        smooth = cv2.GaussianBlur(smooth, (9, 9), blur, borderType=cv2.BORDER_REFLECT_101)
    worst = np.sort(smooth.ravel())[::-1][:patches]
    assert float(score) == pytest.approx(float(worst.mean()), rel=1e-5)


def by_hand(direction: np.ndarray, score: float, good_scores: tuple[float, float]) -> np.ndarray:
    """The descriptor in numpy."""
    typical, bound = good_scores
    judgment = 0.7 * np.clip((score - bound) / (bound - typical), -1, 1)
    whole = np.append(direction / np.linalg.norm(direction), judgment)
    return whole / np.linalg.norm(whole)


@pytest.mark.parametrize("good_scores", [(1.0, 5.0), (10.0, 20.0), (1e3, 2e3)])
def test_patchcore_descriptor_is_the_weighted_difference_to_the_nearest_prototypes(
    extractor, images, good_scores
):
    """By hand in numpy; good parts score far below, around and far above the image."""
    normalization = normalization_of("tf_efficientnet_lite0")
    bank = torch.randn(50, 152, generator=torch.Generator().manual_seed(3))
    graph = PatchCoreGraph(extractor, LAYERS, bank, normalization, 9, good_scores).eval()
    with torch.no_grad():
        patches = graph.features(torch.from_numpy(images[1])[None])[0][0].flatten(1).T.numpy()
        score, _, embedding = graph(torch.from_numpy(images[1])[None])
    distances = np.linalg.norm(patches[:, None] - bank.numpy()[None], axis=2)
    top = np.argsort(-distances.min(axis=1))[:32]
    weights = (distances[top].min(axis=1) / distances.min(axis=1).max()) ** 8
    differing = weights @ (patches[top] - bank.numpy()[distances[top].argmin(axis=1)])
    there = weights @ (patches[top] - bank.numpy().mean(axis=0))
    direction = differing / np.linalg.norm(differing) + 0.2 * there / np.linalg.norm(there)
    np.testing.assert_allclose(
        embedding[0], by_hand(direction, float(score), good_scores), atol=1e-4
    )


def test_the_descriptor_tells_flagged_from_good_and_kinds_of_defect_apart():
    buffer = good_scores_buffer((1.0, 2.0))
    scratch, dent = torch.eye(2)[:, None]
    near_scratch = scratch + 0.3 * dent

    def similarity(one, other):
        return float((defect_descriptor(*one, buffer) * defect_descriptor(*other, buffer)).sum())

    flagged, good = torch.tensor([3.0]), torch.tensor([1.0])
    same_kind = similarity((scratch, flagged), (near_scratch, flagged))
    assert same_kind > similarity((scratch, flagged), (dent, flagged))
    assert same_kind > similarity((scratch, flagged), (scratch, good))
    assert similarity((scratch, good), (dent, good)) > similarity((scratch, good), (dent, flagged))
    # A wild score says no more than a clear one: the direction must still decide.
    assert similarity((scratch, torch.tensor([1e9])), (dent, flagged)) < same_kind


@pytest.mark.parametrize("good_scores", [(0.0, 0.0), (5.0, 5.0), (-3.0, -3.0), (5.0, 4.0)])
def test_good_parts_that_score_alike_leave_a_finite_descriptor(good_scores):
    for score in (-1e6, 0.0, 5.0, 1e6):
        found = defect_descriptor(
            torch.ones(1, 3), torch.tensor([score]), good_scores_buffer(good_scores)
        )
        assert bool(torch.isfinite(found).all())
        assert float(found.norm()) == pytest.approx(1.0, abs=1e-5)


def smoothed_model(channels, quantiles):
    torch.manual_seed(0)
    model = SmoothedEfficientAdModel(channels, "small").eval()
    model.mean_std.update(
        {"mean": torch.randn(1, channels, 1, 1), "std": torch.rand(1, channels, 1, 1) + 0.5}
    )
    model.quantiles.update({name: torch.tensor(value) for name, value in quantiles.items()})
    return model


@pytest.mark.parametrize(("share", "sigma"), [(0.5, 4.0), (0.8, 0.0), (1.0, 4.0)])
def test_efficientad_graph_equals_anomalib(share, sigma):
    model = smoothed_model(32, {"qa_st": 0.5, "qb_st": 1.7, "qa_ae": 0.9, "qb_ae": 1.4})
    model.read_as(MapReading(share, sigma))
    graph = EfficientAdGraph(model, (256, 256), GOOD_SCORES).eval()
    assert (graph.ae is None) == (share == 1.0)
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)
    with torch.no_grad():
        expected = model(to_batch(image, None))
        score, anomaly_map, embedding = graph(torch.from_numpy(image)[None])
        # The runtime up-samples and smooths what the graph gives.
        grown = upsample_map(anomaly_map[0, 0].numpy(), (256, 256), sigma)
    torch.testing.assert_close(score, expected.pred_score.reshape(1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(grown, expected.anomaly_map[0, 0].numpy(), rtol=1e-3, atol=1e-4)
    assert embedding.shape == (1, 33)
    assert float(embedding.norm()) == pytest.approx(1.0, abs=1e-5)


def test_the_reading_weights_the_branches_as_it_says():
    model = smoothed_model(16, {"qa_st": 0.1, "qb_st": 0.9, "qa_ae": 0.2, "qb_ae": 0.5})
    batch = torch.rand(1, 3, 256, 256)
    with torch.no_grad():
        student, autoencoder = model.get_maps(batch, normalize=True)
        model.read_as(MapReading(0.8, 0.0))
        weighted = model(batch).anomaly_map
    torch.testing.assert_close(weighted, 0.8 * student + 0.2 * autoencoder, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sigma", [0.0, 1.3, 4.0, 8.0])
def test_separable_smoothing_is_anomalibs(sigma):
    anomaly_map = torch.rand(1, 1, 96, 128, generator=torch.Generator().manual_seed(0))
    expected = GaussianBlur2d(sigma=sigma, channels=1)(anomaly_map) if sigma else anomaly_map
    torch.testing.assert_close(
        SeparableGaussian(sigma)(anomaly_map), expected, rtol=1e-5, atol=1e-6
    )
