"""Average pooling as a convolution."""

from __future__ import annotations

import numpy as np
import openvino as ov
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openvino import opset13

from calibration.int8.graph import pooling_as_convolutions


def pooled(kernel=(2, 2), pad=0, **options):
    """A convolution called ``first``, ReLU and average pooling."""
    image = opset13.parameter([1, 3, 9, 12], np.float32, "image")
    weights = np.random.default_rng(0).normal(0, 1, (5, 3, 3, 3)).astype(np.float32)
    first = opset13.convolution(image, opset13.constant(weights), [1, 1], [0, 0], [0, 0], [1, 1])
    first.set_friendly_name("first")
    pooling = opset13.avg_pool(
        opset13.relu(first),
        strides=[2, 2],
        pads_begin=[pad, pad],
        pads_end=[pad, pad],
        kernel_shape=list(kernel),
        exclude_pad=options.pop("exclude_pad", False),
        **options,
    )
    pooling.output(0).set_names({"pooled"})
    return ov.Model([opset13.result(pooling)], [image], "pooled")


def kinds(model):
    return [node.get_type_name() for node in model.get_ops()]


def run(model, image):
    return ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(image)[
        "pooled"
    ]


@settings(max_examples=15)
@given(
    seed=st.integers(0, 2**16),
    kernel=st.tuples(st.integers(2, 3), st.integers(2, 3)),
    pad=st.integers(0, 1),
)
def test_it_computes_the_same(seed, kernel, pad):
    image = np.random.default_rng(seed).normal(0, 1, (1, 3, 9, 12)).astype(np.float32)
    model = pooled(kernel, pad)
    expected = run(model, image)
    pooling_as_convolutions(model)
    assert "AvgPool" not in kinds(model)
    np.testing.assert_allclose(run(model, image), expected, atol=1e-5)


@pytest.mark.parametrize(
    "options", [{"exclude_pad": True}, {"rounding_type": "ceil"}, {"auto_pad": "same_upper"}]
)
def test_pooling_that_a_convolution_cannot_express_stays(options):
    model = pooled(pad=1, **options)
    pooling_as_convolutions(model)
    assert "AvgPool" in kinds(model)


def test_pooling_of_a_layer_that_stays_in_fp32_stays_with_it():
    model = pooled()
    pooling_as_convolutions(model, ["other"])
    assert "AvgPool" not in kinds(model)
    model = pooled()
    pooling_as_convolutions(model, ["first"])
    assert "AvgPool" in kinds(model)
