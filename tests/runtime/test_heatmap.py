"""The heat map against torch and anomalib, which it must agree with, and what a person sees of
it."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.images.heatmap import overlay, upsample_map


def random_map(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).gamma(2.0, 3.0, (height, width)).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [0.0, 1.5, 4.0])
@pytest.mark.parametrize(
    ("map_hw", "size_hw"),
    [
        ((32, 32), (256, 256)),
        ((28, 40), (224, 320)),
        ((56, 56), (250, 131)),
        ((300, 300), (256, 256)),
    ],
)
def test_it_is_what_anomalib_draws(
    map_hw: tuple[int, int], size_hw: tuple[int, int], sigma: float
) -> None:
    import torch
    from anomalib.models.components.filters import GaussianBlur2d

    raw = random_map(*map_hw)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(raw)[None, None], size=size_hw, mode="bilinear", align_corners=False
    )
    if sigma:
        expected = GaussianBlur2d(sigma=sigma, channels=1)(expected)
    found = upsample_map(raw, size_hw, sigma)
    assert found.shape == size_hw
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected[0, 0].numpy(), atol=1e-5 * float(np.ptp(raw)))


@pytest.mark.slow
@pytest.mark.parametrize("model", ["patchcore", "efficientad"])
def test_a_real_models_map_is_what_anomalib_draws(
    model: str, request: pytest.FixtureRequest, sample_root
) -> None:
    import torch
    from anomalib.models.components.filters import GaussianBlur2d

    from runtime.inspector import Inspector

    with Inspector(request.getfixturevalue(f"{model}_bundle")) as inspector:
        prediction = inspector.inspect(next((sample_root / "tile" / "test").rglob("*.png")))
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(prediction.anomaly_map)[None, None],
        size=prediction.model_hw,
        mode="bilinear",
    )
    if prediction.blur_sigma:
        expected = GaussianBlur2d(sigma=prediction.blur_sigma, channels=1)(expected)
    found = prediction.heat_map()
    np.testing.assert_allclose(
        found, expected[0, 0].numpy(), atol=1e-5 * float(np.abs(found).max())
    )


def test_growing_alone_is_bilinear_with_half_pixel_centers() -> None:
    ramp = np.tile(np.linspace(0, 7, 8, dtype=np.float32), (8, 1))
    grown = upsample_map(ramp, (16, 64), 0.0)
    expected = np.interp((np.arange(64) + 0.5) / 8 - 0.5, np.arange(8), np.arange(8))
    np.testing.assert_allclose(grown, np.tile(expected, (16, 1)), atol=1e-6)


def test_blurring_keeps_a_flat_map_flat_and_spreads_a_peak_by_its_sigma() -> None:
    np.testing.assert_allclose(
        upsample_map(np.full((8, 8), 3.5, np.float32), (64, 64), 4.0), 3.5, rtol=1e-6
    )
    peak = np.zeros((129, 129), np.float32)
    peak[64, 64] = 1.0
    blurred = upsample_map(peak, (129, 129), 4.0)
    profile = blurred.sum(axis=0).astype(np.float64)
    assert profile.sum() == pytest.approx(1.0, abs=1e-5)
    spread = np.sqrt((profile * (np.arange(129) - 64) ** 2).sum())
    assert spread == pytest.approx(4.0, rel=0.01)


def test_raw_values_stay_raw() -> None:
    raw = random_map(16, 16) * 1000 - 500
    assert upsample_map(raw, (16, 16), 0.0) == pytest.approx(raw)


def test_the_overlay_is_clear_where_good_and_light_where_not() -> None:
    gray = np.full((20, 40, 3), 100, np.uint8)
    heat = np.zeros((20, 40), np.float32)
    heat[:, 20:] = 10.0
    drawn = overlay(gray, heat, low=1.0, high=9.0)
    assert drawn.dtype == np.uint8
    np.testing.assert_array_equal(drawn[:, :20], gray[:, :20])
    red, green, blue = drawn[10, 30].astype(int)
    assert min(red, green) > blue + 30
    # No rainbow: hotter is lighter all the way, for eyes that cannot tell red from green, too.
    dark, rising = np.zeros((1, 64, 3), np.uint8), np.linspace(1, 9, 64, dtype=np.float32)[None]
    luma = overlay(dark, rising, low=1.0, high=9.0)[0] @ [0.2126, 0.7152, 0.0722]
    assert np.all(np.diff(luma) >= 0)


def test_more_heat_is_drawn_further_from_the_photograph() -> None:
    gray = np.full((1, 5, 3), 128, np.uint8)
    drawn = overlay(gray, np.array([[0, 1, 2, 3, 4]], np.float32), low=0.0, high=4.0)
    distance = np.abs(drawn.astype(int) - 128).sum(axis=2)[0]
    assert distance[0] == 0
    assert (distance[1:] > 0).all()


def test_a_map_without_a_range_is_drawn_without_a_warning() -> None:
    gray = np.full((4, 4, 3), 100, np.uint8)
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(overlay(gray, np.zeros((4, 4), np.float32), 0.0, 0.0), gray)
