"""Evening out the student's errors on good parts, so that those on bad parts show.

The student's errors are far from equal in all directions: along some combinations of channels it
always errs, along others hardly ever. The squared difference of the paper adds them up as they are,
and the noisy directions drown the others. A linear map W that evens out the errors' covariance
turns the sum into a (part of the way to a) Mahalanobis distance, as in PaDiM (Defard et al., ICPR
2021). W (t - s) = W t - W s, so W goes into the student's last convolution and, as a 1x1
convolution, behind the teacher: anomalib's model stays what it is, and inspection hardly notices.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from anomalib.models.image.efficient_ad.torch_model import EfficientAdModel
from torch import nn

# Directions with less than this share of the mean variance count as noise of the estimate.
FLOOR = 0.1


def whiten_residuals(
    model: EfficientAdModel, images: Iterable[torch.Tensor], whitening: float
) -> None:
    """Rewrite teacher and student so that their difference on good parts varies evenly.

    Args:
        model: fitted, in eval mode, with its channel statistics set; it is changed.
        images: good parts, float32 (1, 3, H, W) in [0, 1].
        whitening: how far the variances are evened out, from 0 (not at all, as in the paper) to 1
            (fully).
    """
    if whitening == 0:
        return
    matrix = whitening_matrix(_covariance(model, images), whitening)
    mean, std = (model.mean_std[name].detach().double().flatten() for name in ("mean", "std"))
    scaled = matrix / std
    channels = len(mean)
    mix = mixing(channels)
    last = model.student.conv4
    with torch.no_grad():
        mix.weight.copy_(scaled.float()[:, :, None, None])
        # The student's other outputs imitate the autoencoder and stay.
        kernel, bias = (values[:channels].double() for values in (last.weight, last.bias))
        last.weight[:channels] = torch.einsum("ij,jkyx->ikyx", matrix, kernel).float()
        last.bias[:channels] = (matrix @ bias).float()
        model.mean_std["mean"].copy_((scaled @ mean).float().view(1, -1, 1, 1))
        model.mean_std["std"].fill_(1.0)
    model.teacher = nn.Sequential(model.teacher, mix).eval()


def mixing(channels: int) -> nn.Conv2d:
    """The 1x1 convolution behind the teacher, to be filled with the matrix."""
    return nn.Conv2d(channels, channels, 1, bias=False).requires_grad_(requires_grad=False)


def whitening_matrix(covariance: torch.Tensor, whitening: float) -> torch.Tensor:
    """The symmetric matrix that takes a covariance C to C^(1 - whitening) of the same mean.

    Args:
        covariance: float64 (C, C), positive semi-definite.
        whitening: in [0, 1].

    Returns:
        float64 (C, C).
    """
    variances, directions = torch.linalg.eigh(covariance)
    total = variances.clamp_min(0.0).mean()
    # Without any error there is nothing to even out.
    if total <= 0:
        return torch.eye(len(covariance), dtype=covariance.dtype)
    relative = (variances.clamp_min(0.0) / total + FLOOR) / (1.0 + FLOOR)
    matrix: torch.Tensor = (directions * relative.pow(-whitening / 2.0)) @ directions.T
    return matrix


def _covariance(model: EfficientAdModel, images: Iterable[torch.Tensor]) -> torch.Tensor:
    """Second moments of the student's error over all patches, float64 (C, C)."""
    moments: torch.Tensor | None = None
    patches = 0
    for image in images:
        with torch.no_grad():
            teacher = (model.teacher(image) - model.mean_std["mean"]) / model.mean_std["std"]
            error = (teacher - model.student(image)[:, : teacher.shape[1]])[0].flatten(1)
            found = (error @ error.T).double()
        moments = found if moments is None else moments + found
        patches += error.shape[1]
    if moments is None:
        raise ValueError("whiten_residuals: expected at least one picture, found none")
    return moments / patches
