"""Quantising networks with NNCF."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path

import numpy as np

from calibration.int8.graph_parts import after
from calibration.int8.pooling import POOLING, pooling_as_convolutions
from runtime.engines.quiet import ov
from runtime.errors import require_extra
from runtime.types import UInt8Image

# More pictures change the ranges of the activations little and cost time.
MAX_STATISTICS = 40


def quantize_networks(
    features: ov.Model,
    pictures: Sequence[UInt8Image],
    *,
    pooled_last: bool,
    left: Collection[str] = (),
) -> ov.Model:
    """Networks that compute in INT8.

    Activations keep the whole range that good parts have. NNCF's default, the mean of the pictures'
    maxima, cuts off what is unusual, and an anomaly is nothing else.

    Two choices make the same file say the same on every processor. Weights use seven bits
    ("overflow fix"): without VNNI products are added in 16 bits, which eight-bit weights overflow.
    And OpenVINO's INT8 pooling with padding returns other numbers than its own simulation, so
    average pooling becomes a convolution, or stays in fp32 where it comes last.

    Args:
        features: fp32 networks, see :func:`calibration.int8.graph_parts.feature_model`; changed.
        pictures: uint8 (H, W, 3), RGB, of good parts at the model's size; never test parts.
        pooled_last: PatchCore: pooling ends the backbone, and what follows describes patches and
            stays in fp32.
        left: names of further operations to leave in fp32.

    Raises:
        MissingExtraError: nncf is not installed.
    """
    require_extra("calibrate", "nncf")
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    if not pooled_last:
        pooling_as_convolutions(features, left)
    logging.getLogger("nncf").setLevel(logging.ERROR)
    pooling = {
        node.get_friendly_name() for node in features.get_ops() if node.get_type_name() == POOLING
    }
    ignored = pooling | set(left) | (after(features, POOLING) if pooled_last else set())
    shown = pictures[:MAX_STATISTICS]
    with _progress_on_stderr():
        return nncf.quantize(
            features,
            nncf.Dataset(shown, lambda picture: np.ascontiguousarray(picture)[None]),
            preset=nncf.QuantizationPreset.MIXED,
            target_device=nncf.TargetDevice.CPU,
            subset_size=len(shown),
            fast_bias_correction=False,
            ignored_scope=nncf.IgnoredScope(names=sorted(ignored), validate=False),
            advanced_parameters=AdvancedQuantizationParameters(
                overflow_fix=OverflowFix.ENABLE,
                activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
            ),
        )


@contextmanager
def _progress_on_stderr() -> Iterator[None]:
    """NNCF draws its bars on stdout, which belongs to results."""
    with ExitStack() as stack:
        target = (
            sys.stderr if sys.stderr.isatty() else stack.enter_context(Path(os.devnull).open("w"))
        )
        stack.enter_context(redirect_stdout(target))
        yield
