"""Evening out the errors of EfficientAD's student: the algebra, on anomalib's own model."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from export.models.efficientad.model import SmoothedEfficientAdModel
from export.models.efficientad.residuals import FLOOR, whiten_residuals, whitening_matrix

pytestmark = pytest.mark.slow

CHANNELS = 6


@pytest.fixture(scope="module")
def model() -> SmoothedEfficientAdModel:
    """Random weights, and channel statistics as after training."""
    torch.manual_seed(0)
    made = SmoothedEfficientAdModel(CHANNELS, "small").eval()
    made.requires_grad_(requires_grad=False)
    made.mean_std["mean"].copy_(torch.randn(1, CHANNELS, 1, 1) * 0.1)
    made.mean_std["std"].copy_(torch.rand(1, CHANNELS, 1, 1) + 0.5)
    return made


@pytest.fixture(scope="module")
def images() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(1, 3, 64, 64, generator=generator) for _ in range(3)]


def errors(model: SmoothedEfficientAdModel, image: torch.Tensor) -> torch.Tensor:
    """What the student gets wrong, float64 (C, patches)."""
    with torch.no_grad():
        teacher = (model.teacher(image) - model.mean_std["mean"]) / model.mean_std["std"]
        return (teacher - model.student(image)[:, :CHANNELS])[0].flatten(1).double()


@settings(deadline=None)
@given(seed=st.integers(0, 2**16), whitening=st.floats(0.0, 1.0))
def test_the_matrix_evens_out_the_variances(seed: int, whitening: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    samples = (
        torch.randn(5, 40, generator=generator, dtype=torch.float64)
        * torch.tensor([[9.0, 5, 3, 2, 1]]).T
    )
    covariance = samples @ samples.T / 40
    matrix = whitening_matrix(covariance, whitening)
    before = np.linalg.eigvalsh(covariance)
    after = np.linalg.eigvalsh(matrix @ covariance @ matrix.T)
    relative = (before / before.mean() + FLOOR) / (1 + FLOOR)
    np.testing.assert_allclose(np.sort(after), np.sort(before * relative**-whitening), rtol=1e-6)


def test_no_error_leaves_the_identity() -> None:
    assert torch.equal(
        whitening_matrix(torch.zeros(3, 3, dtype=torch.float64), 0.5), torch.eye(3).double()
    )


@pytest.mark.parametrize("whitening", [0.5, 1.0])
def test_the_difference_is_the_old_one_times_the_matrix(
    model: SmoothedEfficientAdModel, images: list[torch.Tensor], whitening: float
) -> None:
    changed = copy.deepcopy(model)
    whiten_residuals(changed, images, whitening)
    before = [errors(model, image) for image in images]
    covariance = sum(error @ error.T for error in before) / sum(error.shape[1] for error in before)
    matrix = whitening_matrix(covariance, whitening)
    for image, error in zip(images, before, strict=True):
        torch.testing.assert_close(errors(changed, image), matrix @ error, rtol=1e-3, atol=1e-5)
        with torch.no_grad():
            torch.testing.assert_close(
                changed.student(image)[:, CHANNELS:],
                model.student(image)[:, CHANNELS:],
                rtol=0,
                atol=0,
            )


def test_nothing_to_even_out_leaves_the_model(
    model: SmoothedEfficientAdModel, images: list[torch.Tensor]
) -> None:
    changed = copy.deepcopy(model)
    whiten_residuals(changed, images, 0.0)
    assert changed.teacher.__class__ is model.teacher.__class__
    assert all(
        torch.equal(a, b) for a, b in zip(changed.parameters(), model.parameters(), strict=True)
    )
